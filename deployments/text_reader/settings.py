"""Settings of the text reader."""

from typing import ClassVar, Literal

from pydantic import Field

from deployments.settings import ModelSection


class TextReaderConfig(ModelSection):
    official_models: ClassVar[tuple[str, ...]] = ("PP-OCRv6-small",)

    model: Literal["PP-OCRv6-small"] = "PP-OCRv6-small"
    """The models come inside the package rapidocr; there is no choice yet."""
    threads: int = Field(0, ge=0)
    """Threads for one model step, at the lowest priority; 0 means one for every two physical cores."""
    max_image_pixels: int = Field(64_000_000, ge=1)
    """A picture with more pixels is refused before it is decoded."""
    idle_unload_s: float = Field(120, ge=0)
    """The models leave memory when nothing was read for so long; the next picture loads them again."""

    @property
    def name(self) -> str:
        return self.model
