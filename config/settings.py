"""The one typed tree of settings.

Precedence: `args:` of the Serve YAML, then the environment, then `.env` in the project folder, then the defaults here.
A key that is not here stops the start with its name. Replicas, queues and CPUs are not here: they live in the YAML's
`deployments:` block.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PROJECT_ROOT = Path(__file__).resolve().parent.parent

ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    "MODEL_CACHE_DIR": ("weights", "cache_dir"),
    "MAX_UPLOAD_SIZE_MB": ("limits", "max_upload_size_mb"),
    "MAX_CONCURRENT_REQUESTS": ("serving", "max_concurrent_requests"),
    "REQUEST_TIMEOUT_SECONDS": ("serving", "request_timeout_s"),
    "WHISPER_MODEL_SIZE": ("transcriber", "model"),
    "CORS_ORIGINS": ("serving", "cors_origins"),
    "LOG_LEVEL": ("serving", "log_level"),
}
"""The environment variables of the PRD, and the setting that each one is."""


WHISPER_SIZES = ("tiny", "base", "small", "medium")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeightsConfig(_Section):
    """Where checkpoints are kept."""

    cache_dir: Path = Field(Path("~/.cache/multimodal_models"), validate_default=True)
    """Folder for downloaded weights; `~` is the user's home."""

    @field_validator("cache_dir")
    @classmethod
    def _expand_home(cls, path: Path) -> Path:
        return path.expanduser()


class CaptionerConfig(_Section):
    model: str = "moondream2"
    """`moondream2`, or a folder holding a checkpoint in the hub's format (relative to the project's folder)."""
    precision: Literal["int8", "fp32", "bf16"] = "int8"
    """Weights and arithmetic: int8 takes 1.9 GB for moondream2, bf16 3.7 GB, fp32 7.5 GB. bf16 is slower than fp32 on
    processors without bf16 instructions, such as those of the target laptops."""
    keep_int8: bool = True
    """Keep moondream2's rounded weights (1.9 GB) beside the fetched ones, so that later starts need not round them."""
    threads: int = Field(0, ge=0)
    """Threads for one model step; 0 means one for each core."""
    max_crops_per_image: int = Field(1, ge=1, le=12)
    """Local crops of a picture beside the whole: more show finer detail, each costs a pass of the vision tower."""
    max_crops_per_frame: int = Field(1, ge=1, le=12)
    """The same for a video's frames."""
    cache_mb: int = Field(600, ge=0)
    """Memory for what the model has read (attention keys and values) while it answers, and of recent images: in int8
    five frames of moondream2 and an image are answered at once in it. One sequence may always run, however little this
    is."""
    image_cache_mb: int = Field(300, ge=0)
    """Of that, what is kept of recent images (three of moondream2 in int8; in fp32 one takes 370), so that another
    question on the same image is answered in a fraction of the time; 0 turns this off."""
    answer_cache_mb: int = Field(4, ge=0)
    """Memory for recent answers: the same image with the same prompt and options is answered at once; 0 turns this
    off."""

    @property
    def name(self) -> str:
        """The model's name in every answer: `moondream2`, or the miniature's folder."""
        return Path(self.model).name

    @property
    def is_miniature(self) -> bool:
        return self.model != "moondream2"


class TranscriberConfig(_Section):
    model: str = "base"
    """`tiny`, `base`, `small`, `medium`, or an openai-whisper `.pt` file (relative to the project's folder)."""
    precision: Literal["int8", "fp32"] = "int8"
    """Weights and arithmetic of its linear layers, keys and values."""
    speech_detection: bool = True
    """Give the model only what a detector hears speech in, many windows at a time: faster, and nothing is said where
    nobody speaks. Off, it hears everything, one window after another, as openai-whisper's own `transcribe` does."""
    threads: int = Field(0, ge=0)
    """Threads for one model step; 0 means one for every two cores."""
    max_duration_s: float = Field(7200, gt=0)
    """Longer sound is refused: a small file can hold days of silence, and all of it would be decoded into memory."""

    @property
    def name(self) -> str:
        """The model's name in every answer: `whisper-<size>`, or the miniature's file without its ending."""
        return Path(self.model).stem if self.is_miniature else f"whisper-{self.model}"

    @property
    def is_miniature(self) -> bool:
        return self.model not in WHISPER_SIZES

    @field_validator("model")
    @classmethod
    def _is_size_or_path(cls, model: str) -> str:
        if model not in WHISPER_SIZES and not model.endswith(".pt"):
            raise ValueError(f"must be one of {', '.join(WHISPER_SIZES)}, or the path of a .pt file, not {model!r}")
        return model


class FrameSamplerConfig(_Section):
    max_frame_side_px: int = Field(756, ge=126)
    """Frames are scaled down to this longer side before they travel: twice the captioner's crop, 1 MB a frame."""
    max_video_pixels: int = Field(8192 * 4608, ge=1)
    """A video with more pixels a frame is refused: one decoded frame would take hundreds of megabytes."""


class LimitsConfig(_Section):
    """Sizes in megabytes of 1024 * 1024 bytes, counted after base64 is decoded."""

    max_upload_size_mb: float = Field(100, gt=0)
    """No file may be larger, whatever its type; the smaller of this and the type's own limit wins."""
    image_mb: float = Field(10, gt=0)
    video_mb: float = Field(100, gt=0)
    audio_mb: float = Field(50, gt=0)
    batch_body_mb: float = Field(200, gt=0)
    """The whole body of a batch, as sent."""
    max_image_pixels: int = Field(64_000_000, ge=1)
    """A picture with more pixels is refused before it is decoded: 64 million take 860 MB meanwhile (measured)."""


class ServingConfig(_Section):
    max_concurrent_requests: int = Field(2, ge=1)
    """Analyses worked on at once."""
    max_queued_requests: int = Field(16, ge=0)
    """Analyses that may wait beyond those; one more is answered SERVER_BUSY."""
    max_large_uploads: int = Field(2, ge=1)
    """Bodies larger than a picture's that may be in memory at once; one more is answered SERVER_BUSY."""
    request_timeout_s: float = Field(60, gt=0)
    """From the request's arrival to its answer: upload, queue and work."""
    min_free_memory_mb: float = Field(512, ge=0)
    """With less memory free on the machine, new analyses are answered SERVER_BUSY; 0 turns this off."""
    requests_per_hour: int = Field(0, ge=0)
    """Rate limit for each client address; 0 means none. The PRD's figure is 100."""
    lazy_loading: bool = False
    """Load each model at its first request instead of at start."""
    video_summary: Literal["model", "join"] = "model"
    """Have the language model write a video's summary, or join the descriptions of its frames."""
    cors_origins: tuple[str, ...] = ("http://localhost:3000", "http://localhost:3001")
    """Browser origins that may call the API; a comma-separated string in the environment."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_commas(cls, origins: Any) -> Any:
        if isinstance(origins, str):
            return tuple(origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip())
        return origins

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level


class AppConfig(_Section):
    """All settings; building one reads the environment and `.env` for what `args:` does not give."""

    weights: WeightsConfig = WeightsConfig()
    captioner: CaptionerConfig = CaptionerConfig()
    transcriber: TranscriberConfig = TranscriberConfig()
    frame_sampler: FrameSamplerConfig = FrameSamplerConfig()
    limits: LimitsConfig = LimitsConfig()
    serving: ServingConfig = ServingConfig()

    @model_validator(mode="before")
    @classmethod
    def _add_environment(cls, args: Any) -> Any:
        if not isinstance(args, Mapping):
            return args
        environment = {**dotenv_values(PROJECT_ROOT / ".env"), **os.environ}
        merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in args.items()}
        for variable, (section, field) in ENVIRONMENT.items():
            value = environment.get(variable)
            if value and isinstance(merged.setdefault(section, {}), dict):
                merged[section].setdefault(field, value)
        return merged
