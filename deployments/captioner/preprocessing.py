"""Cuts images into the crops that the vision tower takes. Needs neither model nor torch.

Replicas run `decode_and_crop` in a process of its own (deployments/sandbox).
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deployments.cancellation import Cancellation
from deployments.captioner.model_config import VisionConfig
from deployments.images.decoding import decode_file
from deployments.media import Pixels


@dataclass(frozen=True)
class ImageCrops:
    """An image as the vision tower takes it."""

    values: NDArray[np.float32]
    """Shape (num_crops, 3, side, side), in [-1, 1]: the global crop, then the local crops row by row.

    With a 1x1 tiling the only local crop would equal the global crop, so it is left out.
    """
    tiling: tuple[int, int]
    """Rows and columns of local crops."""


@dataclass(frozen=True)
class DecodedImage:
    width: int
    """In pixels, after EXIF orientation."""
    height: int
    levels: NDArray[np.uint8]
    """The crops' pixels, shape (num_crops, side, side, 3). Floats would be four times as much to send."""
    tiling: tuple[int, int]

    @property
    def crops(self) -> ImageCrops:
        return _normalized(self.levels, self.tiling)


def decode_and_crop(
    file: io.RawIOBase, config: VisionConfig, max_crops: int, max_pixels: int, cancellation: Cancellation
) -> Iterator[DecodedImage]:
    """Yield the one image of `file`, as `decode_image` and `make_crops` would give it; raises as they do."""
    cancellation.check()
    image = decode_file(file, max_pixels)
    levels, tiling = _cut(image, config, max_crops)
    yield DecodedImage(image.width, image.height, levels, tiling)


def select_tiling(height: int, width: int, config: VisionConfig, max_crops: int) -> tuple[int, int]:
    """Return how many local crops, as (rows, columns), cover an image of that size in pixels; at most `max_crops`.

    The same as in Moondream's reference implementation, except for images with one side more than `max_crops` times
    the other: there the reference exceeds `max_crops`, and this function does not.
    """
    window = config.window_px
    height, width = height - 2 * config.margin_px, width - 2 * config.margin_px
    if height <= window or width <= window:
        return 1, 1
    min_rows, min_columns = math.ceil(height / window), math.ceil(width / window)
    if min_rows * min_columns > max_crops:
        shrink = math.sqrt(max_crops / (min_rows * min_columns))
        rows, columns = max(1, math.floor(min_rows * shrink)), max(1, math.floor(min_columns * shrink))
    else:
        rows = max(min_rows, math.floor(math.sqrt(max_crops * height / width)))
        columns = max(min_columns, math.floor(math.sqrt(max_crops * width / height)))
    if rows * columns > max_crops:
        if columns > rows:
            columns = max_crops // rows
        else:
            rows = max_crops // columns
    return rows, columns


def make_crops(pixels: Pixels, config: VisionConfig, max_crops: int) -> ImageCrops:
    """Return the global crop and at most `max_crops` local crops of an image, shape (height, width, 3).

    Each is resized with Lanczos to the side that the vision tower takes, without keeping the aspect ratio. A local crop
    is its own window plus a margin on each side that overlaps its neighbours.
    """
    return _normalized(*_cut(Image.fromarray(pixels), config, max_crops))


def _cut(image: Image.Image, config: VisionConfig, max_crops: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the crops that `make_crops` describes, shape (num_crops, side, side, 3), and their tiling."""
    side, window, margin = config.crop_size, config.window_px, config.margin_px
    rows, columns = select_tiling(image.height, image.width, config, max_crops)
    crops = [_resized(image, side, side)]
    if (rows, columns) != (1, 1):
        resized = _resized(image, columns * window + 2 * margin, rows * window + 2 * margin)
        for top in range(0, rows * window, window):
            for left in range(0, columns * window, window):
                crops.append(resized[top : top + side, left : left + side])
    return np.stack(crops), (rows, columns)


def _normalized(levels: NDArray[np.uint8], tiling: tuple[int, int]) -> ImageCrops:
    values = levels.transpose(0, 3, 1, 2).astype(np.float32)
    return ImageCrops((values / np.float32(255) - np.float32(0.5)) / np.float32(0.5), tiling)


def _resized(image: Image.Image, width: int, height: int) -> Pixels:
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
