"""From the bytes of a picture to the crops that the vision tower sees; no model, no torch."""

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

from deployments.captioner.architecture import VisionConfig
from deployments.errors import InvalidFile
from deployments.log import logger
from deployments.media import Media, MediaReader, Pixels

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What Pillow may open: every further decoder is one more that a hostile file can reach."""

DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files; it documents only the first."""


@dataclass(frozen=True)
class ImageCrops:
    """What the vision tower sees of a picture."""

    pixels: NDArray[np.float32]
    """Shape (num_crops, 3, side, side), in [-1, 1]: the whole picture, then its tiles row by row.

    With a 1x1 tiling the only tile would equal the whole, so it is left out.
    """
    tiling: tuple[int, int]
    """Tiles down and across."""


def decode_image(media: Media, max_pixels: int) -> Pixels:
    """Return the picture as a person sees it, shape (height, width, 3), uint8 RGB.

    JPG, PNG, WEBP, BMP, GIF (first frame); EXIF orientation is applied, colour profiles are not. Transparent parts
    show white, as on a page: what is drawn on transparency is mostly dark, and would vanish on black. Raises
    InvalidFile when there are more than `max_pixels` (decided before decoding) or the file cannot be decoded.
    """
    _keep_pillow_quiet(max_pixels)
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
        logger.info("A picture cannot be decoded: %r", error)
        raise InvalidFile(
            "The image cannot be decoded: it is damaged or incomplete. Open it in an image editor, save it again as "
            "JPG or PNG, and send that."
        ) from error


def select_tiling(height: int, width: int, config: VisionConfig, max_crops: int) -> tuple[int, int]:
    """Return how many tiles, (down, across), a picture of that size in pixels is cut into: at most `max_crops`.

    The policy is the reference implementation's, which exceeds its own limit where one side is more than `max_crops`
    times the other; here the longer side is cut to it then too.
    """
    window = config.window_px
    height, width = height - 2 * config.margin_px, width - 2 * config.margin_px
    if height <= window or width <= window:
        return 1, 1
    fewest_down, fewest_across = math.ceil(height / window), math.ceil(width / window)
    if fewest_down * fewest_across > max_crops:
        shrink = math.sqrt(max_crops / (fewest_down * fewest_across))
        down, across = max(1, math.floor(fewest_down * shrink)), max(1, math.floor(fewest_across * shrink))
    else:
        down = max(fewest_down, math.floor(math.sqrt(max_crops * height / width)))
        across = max(fewest_across, math.floor(math.sqrt(max_crops * width / height)))
    if down * across > max_crops:
        if across > down:
            across = max_crops // down
        else:
            down = max_crops // across
    return down, across


def make_crops(pixels: Pixels, config: VisionConfig, max_crops: int) -> ImageCrops:
    """Return the whole picture and its tiles, each scaled with Lanczos to the side the vision tower takes.

    Aspect is not kept; a tile is its own window and a margin of its neighbours' on each side.
    """
    height, width, _ = pixels.shape
    image = Image.fromarray(pixels)
    side, window, margin = config.crop_size, config.window_px, config.margin_px
    down, across = select_tiling(height, width, config, max_crops)
    crops = [_scaled(image, side, side)]
    if (down, across) != (1, 1):
        tiles = _scaled(image, across * window + 2 * margin, down * window + 2 * margin)
        for top in range(0, down * window, window):
            for left in range(0, across * window, window):
                crops.append(tiles[top : top + side, left : left + side])
    levels = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32)
    return ImageCrops((levels / np.float32(255) - np.float32(0.5)) / np.float32(0.5), (down, across))


def _scaled(image: Image.Image, width: int, height: int) -> Pixels:
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
        # The pixels are whole; every viewer shows such a picture as it is stored.
        logger.info("A picture's EXIF data cannot be read, so it is taken as upright: %r", error)
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit greys: Pillow's own conversion clips them at 255 instead of scaling.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    drawn = image.convert("RGBA")
    page = Image.new("RGB", drawn.size, "white")
    page.paste(drawn, mask=drawn)
    return page


def _keep_pillow_quiet(max_pixels: int) -> None:
    """Make Pillow's own limit ours, and its warnings about odd files silent, for this whole process."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    pattern = r"PIL\."
    # Looked up first: each new filter makes Python repeat every warning it has shown before.
    if ("ignore", None, Warning, re.compile(pattern), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=pattern)
