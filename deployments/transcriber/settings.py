"""Settings of the transcriber."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from deployments.settings import Int8ModelSection

WHISPER_SIZES = ("tiny", "base", "small", "medium")

WhisperPrecision = Literal["int8", "fp32"]


class TranscriberConfig(Int8ModelSection):
    official_models: ClassVar[tuple[str, ...]] = WHISPER_SIZES

    model: str = "base"
    """`tiny`, `base`, `small`, `medium`, or an openai-whisper `.pt` file (relative to the project's folder)."""
    precision: WhisperPrecision = "int8"
    """Precision of the linear layers and the KV cache."""
    speech_detection: bool = True
    """Transcribe only the parts where a voice activity detector finds speech, several windows per batch: faster, and
    no hallucinations where nobody speaks. If false, the model gets the whole recording, one window after another, as in
    openai-whisper's own `transcribe`."""
    beam_size: int = Field(3, ge=1, le=5)
    """Texts that are followed for each window at once; the one with the most probable tokens counts."""
    threads: int = Field(0, ge=0)
    """Threads for one model step; 0 means one for every two physical cores."""
    max_duration_s: float = Field(7200, gt=0)
    """Longer audio is refused: even a small file can hold days of silence, which would all be decoded into memory."""

    @property
    def name(self) -> str:
        """The model's name in every response: `whisper-<size>`, or the checkpoint's file name without `.pt`."""
        return f"whisper-{self.model}" if self.is_official else Path(self.model).stem

    @field_validator("model")
    @classmethod
    def _is_size_or_path(cls, model: str) -> str:
        if model not in WHISPER_SIZES and not model.endswith(".pt"):
            raise ValueError(f"must be one of {', '.join(WHISPER_SIZES)}, or the path of a .pt file, not {model!r}")
        return model
