"""Settings that several packages share. Those of one capability are in the `settings.py` of its package."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from deployments.project import project_folder
from deployments.units import MEGABYTE

KernelChoice = Literal["auto", "vnni", "onednn"]

MINIATURES_FOLDER = Path("checkpoints/mini")
"""The checkpoints that come with the project, relative to its folder."""


class Section(BaseModel):
    """One section of the settings: frozen; an unknown key is an error. Errors quote no values, which may be secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ModelSection(Section):
    """Settings that every model has. `model` is the name of an official model, or the path of a checkpoint."""

    official_models: ClassVar[tuple[str, ...]]
    """Names of the models that can be fetched."""

    model: str

    @property
    @abstractmethod
    def name(self) -> str:
        """The model's name in answers and in health."""

    @property
    def is_official(self) -> bool:
        return self.model in self.official_models

    @property
    def checkpoint_path(self) -> Path:
        """Path of a checkpoint that is not an official model; a relative path starts at the project's folder."""
        return project_folder() / Path(self.model).expanduser()

    @property
    def is_miniature(self) -> bool:
        """Whether `model` is one of the miniatures that come with the project."""
        miniatures = (project_folder() / MINIATURES_FOLDER).resolve()
        return not self.is_official and self.checkpoint_path.resolve().is_relative_to(miniatures)


class Int8ModelSection(ModelSection):
    """Settings of a model that can be served in int8."""

    kernel: KernelChoice = "auto"
    """Code for int8 products. `auto` takes the fastest exact one that this CPU has: `vnni`, our own loops around the
    VNNI instructions, for small batches and oneDNN for large ones; else `onednn` for all."""


class WeightsConfig(Section):
    """Where checkpoints are kept."""

    cache_dir: Path = Field(Path("~/.cache/multimodal_models"), validate_default=True)
    """Folder for downloaded weights; `~` is the user's home."""

    @field_validator("cache_dir")
    @classmethod
    def _expand_home(cls, path: Path) -> Path:
        return path.expanduser()


class LimitsConfig(Section):
    """Sizes in megabytes of 1024 * 1024 bytes, counted after base64 is decoded."""

    max_upload_size_mb: float = Field(100, gt=0)
    """No file may be larger, whatever its type; the smaller of this and the type's own limit wins."""
    image_mb: float = Field(10, gt=0)
    video_mb: float = Field(100, gt=0)
    audio_mb: float = Field(50, gt=0)
    batch_body_mb: float = Field(200, gt=0)
    """The whole body of a batch request, measured as sent, in base64."""
    max_image_pixels: int = Field(64_000_000, ge=1)
    """A picture with more pixels is refused before it is decoded: decoding 64 million takes 860 MB (measured)."""

    def max_file_bytes(self, type_limit_mb: float) -> int:
        """Return the size limit of a file, in bytes: the smaller of its type's limit and the limit for all uploads."""
        return int(min(type_limit_mb, self.max_upload_size_mb) * MEGABYTE)
