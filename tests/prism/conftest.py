from tests.deployments.weights.conftest import hub, whisper_content

__all__ = ["hub", "whisper_content"]
