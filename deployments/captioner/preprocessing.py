"""Decodes images and cuts them into the crops that the vision tower takes. Needs neither model nor torch."""

import math
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from deployments.captioner.model_config import VisionConfig
from deployments.errors import InvalidFile
from deployments.log import logger
from deployments.media import Media, MediaReader, Pixels

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""The only formats that Pillow may open. Every further decoder is one more that a hostile file could attack."""

DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow's decoders raise for damaged files. Only OSError is documented."""


@dataclass(frozen=True)
class ImageCrops:
    """An image as the vision tower takes it."""

    pixels: NDArray[np.float32]
    """Shape (num_crops, 3, side, side), in [-1, 1]: the global crop, then the local crops row by row.

    With a 1x1 tiling the only local crop would equal the global crop, so it is left out.
    """
    tiling: tuple[int, int]
    """Rows and columns of local crops."""


def decode_image(media: Media, max_pixels: int) -> Pixels:
    """Decode a JPEG, PNG, WEBP, BMP or GIF (first frame) to uint8 RGB, shape (height, width, 3).

    EXIF orientation is applied; colour profiles are not. Transparent parts become white: drawings on a transparent
    background are mostly dark, and would vanish on black. Raises InvalidFile if the image has more than `max_pixels`
    (checked before decoding) or cannot be decoded.
    """
    _configure_pillow(max_pixels)
    try:
        with Image.open(cast(IO[bytes], MediaReader(media)), formats=FORMATS) as image:
            _check_size(image.width, image.height, max_pixels)
            image.load()
            return np.asarray(_as_rgb(_upright(image)))
    except InvalidFile:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(max_pixels) from error
    except DECODE_ERRORS as error:
        logger.info("An image cannot be decoded: %r", error)
        raise InvalidFile(
            "The image cannot be decoded: it is damaged or incomplete. Open it in an image editor, save it again as "
            "JPG or PNG, and send that."
        ) from error


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
    height, width, _ = pixels.shape
    image = Image.fromarray(pixels)
    side, window, margin = config.crop_size, config.window_px, config.margin_px
    rows, columns = select_tiling(height, width, config, max_crops)
    crops = [_resized(image, side, side)]
    if (rows, columns) != (1, 1):
        resized = _resized(image, columns * window + 2 * margin, rows * window + 2 * margin)
        for top in range(0, rows * window, window):
            for left in range(0, columns * window, window):
                crops.append(resized[top : top + side, left : left + side])
    levels = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32)
    return ImageCrops((levels / np.float32(255) - np.float32(0.5)) / np.float32(0.5), (rows, columns))


def _resized(image: Image.Image, width: int, height: int) -> Pixels:
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_many_pixels(max_pixels)


def _too_many_pixels(max_pixels: int) -> InvalidFile:
    return InvalidFile(f"The image has more than {max_pixels:,} pixels; scale it down and send it again.")


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except DECODE_ERRORS as error:
        # The pixels are intact, and image viewers show such an image as stored.
        logger.info("An image's EXIF data cannot be read, so its orientation is ignored: %r", error)
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit greyscale: Pillow's own conversion clips at 255 instead of scaling.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    foreground = image.convert("RGBA")
    composed = Image.new("RGB", foreground.size, "white")
    composed.paste(foreground, mask=foreground)
    return composed


def _configure_pillow(max_pixels: int) -> None:
    """For the whole process, set Pillow's pixel limit and silence its warnings about unusual files."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    pattern = r"PIL\."
    # Added only once: each new filter makes Python repeat every warning that it has shown before.
    if ("ignore", None, Warning, re.compile(pattern), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=pattern)
