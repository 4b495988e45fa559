from tests.deployments.weights.conftest import hub, voices_content, whisper_content

__all__ = ["hub", "voices_content", "whisper_content"]
