"""Settings of the captioner."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from deployments.settings import ModelSection

Precision = Literal["int8", "fp32", "bf16"]


class CaptionerConfig(ModelSection):
    official_models: ClassVar[tuple[str, ...]] = ("moondream2",)

    model: str = "moondream2"
    """`moondream2`, or a folder holding a checkpoint in the hub's format (relative to the project's folder)."""
    precision: Precision = "int8"
    """Weights and arithmetic: int8 takes 1.9 GB for moondream2, bf16 3.7 GB, fp32 7.5 GB. bf16 is slower than fp32 on
    processors without bf16 instructions, such as those of the target laptops."""
    keep_int8: bool = True
    """Keep moondream2's int8 weights (1.9 GB) beside the fetched ones, so that later starts need not quantize them."""
    threads: int = Field(0, ge=0)
    """Threads for one model step; 0 means one for each physical core."""
    max_crops_per_image: int = Field(1, ge=1, le=12)
    """Crops that the vision tower sees beside the whole image: more show finer detail, each costs a pass."""
    max_crops_per_frame: int = Field(1, ge=1, le=12)
    """The same for a video's frames."""
    cache_mb: int = Field(600, ge=0)
    """Memory for the KV caches of running sequences and of recent images. In int8 it holds five frames of moondream2
    and an image at once. One sequence may always run, however small this is."""
    image_cache_mb: int = Field(300, ge=0)
    """The part of `cache_mb` for the KV caches of recent images (three of moondream2 in int8; in fp32 one takes 370
    MB). They make another question on the same image several times as fast; 0 turns this off."""
    answer_cache_mb: int = Field(4, ge=0)
    """Memory for recent answers: the same image with the same prompt and options is answered at once; 0 turns this
    off."""

    @property
    def name(self) -> str:
        """The model's name in every answer: `moondream2`, or the name of the checkpoint's folder."""
        return Path(self.model).name
