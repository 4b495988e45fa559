"""Model checkpoints: where they are, fetching them, checking them."""

from deployments.weights.checkpoints import MoondreamFiles, WhisperFile, ensure_moondream, ensure_whisper

__all__ = ["MoondreamFiles", "WhisperFile", "ensure_moondream", "ensure_whisper"]
