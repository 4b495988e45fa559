"""Model checkpoints: where they are, fetching them, checking them."""

from deployments.weights.checkpoints import INT8_FILE, MoondreamFiles, WhisperFile, ensure_moondream, ensure_whisper

__all__ = ["INT8_FILE", "MoondreamFiles", "WhisperFile", "ensure_moondream", "ensure_whisper"]
