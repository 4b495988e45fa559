"""Settings of the captioner."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from deployments.settings import Int8ModelSection

MoondreamPrecision = Literal["int8", "fp32", "bf16"]


class CaptionerConfig(Int8ModelSection):
    official_models: ClassVar[tuple[str, ...]] = ("moondream2",)

    model: str = "moondream2"
    """`moondream2`, or a folder holding a checkpoint in the hub's format (relative to the project's folder)."""
    precision: MoondreamPrecision = "int8"
    """Precision of weights and arithmetic. moondream2 takes 1.9 GB in int8, 3.7 GB in bf16 and 7.5 GB in fp32. bf16 is
    slower than fp32 on processors without bf16 instructions, such as those of the target laptops."""
    keep_int8: bool = True
    """Save moondream2's int8 weights (1.9 GB) beside the downloaded ones, so that later starts need not quantize them
    again."""
    threads: int = Field(0, ge=0)
    """Threads for one model step; 0 means one per physical core."""
    max_crops_per_image: int = Field(1, ge=1, le=12)
    """Maximum number of local crops per image, beside the global crop. More crops show finer detail, and each costs one
    pass of the vision tower."""
    max_crops_per_frame: int = Field(1, ge=1, le=12)
    """The same for each frame of a video."""
    cache_mb: int = Field(600, ge=0)
    """Memory for the KV caches of running sequences and of recent images. In int8 the default holds five frames and one
    image of moondream2 at once. One sequence can always run, however small this is."""
    image_cache_mb: int = Field(300, ge=0)
    """The part of `cache_mb` that recent images may take: three of moondream2 in int8 (in fp32 one takes 370 MB). They
    make another question about the same image several times as fast; 0 turns this off."""
    answer_cache_mb: int = Field(4, ge=0)
    """Memory for recent answers. The same request about the same image is then answered at once; 0 turns this off."""

    @property
    def name(self) -> str:
        """The model's name in responses: `moondream2`, or the name of the checkpoint's folder."""
        return Path(self.model).name
