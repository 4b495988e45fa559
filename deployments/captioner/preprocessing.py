"""Decodes images and cuts them into the crops that the vision tower takes. Needs neither model nor torch.

Replicas run `decode_and_crop` in a process of its own (deployments/sandbox).
"""

import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, WebPImagePlugin

from deployments.cancellation import Cancellation
from deployments.captioner.image_files import ImageFile, reduce_to_pixels
from deployments.captioner.model_config import VisionConfig
from deployments.errors import InvalidFile
from deployments.log import logger
from deployments.media import Media, Pixels

# Processes that are forked for one image must not import their decoder first.
Image.preinit()
assert WebPImagePlugin.SUPPORTED

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""The only formats that Pillow may open. Every further decoder is one more that a hostile file could attack."""


MAX_SIDE_PX = 1_000_000
"""Pillow needs 48 bytes for each pixel of the longer side to scale an image down. JPEG, GIF and WEBP end at 65 535."""


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


def decode_image(media: Media, max_pixels: int) -> Pixels:
    """Decode a JPEG, PNG, WEBP, BMP or GIF (first frame) to uint8 RGB, shape (height, width, 3).

    EXIF orientation is applied; colour profiles are not. Transparent parts become white: drawings on a transparent
    background are mostly dark, and would vanish on black. Damage that concerns no pixel is no error.

    Raises InvalidFile if the image has more than `max_pixels` or a side of more than `MAX_SIDE_PX` (checked before
    decoding), or cannot be decoded.
    """
    return np.asarray(_decode(media.tobytes(), max_pixels))


def decode_and_crop(
    file: io.RawIOBase, config: VisionConfig, max_crops: int, max_pixels: int, cancellation: Cancellation
) -> Iterator[DecodedImage]:
    """Yield the one image of `file`, as `decode_image` and `make_crops` would give it; raises as they do."""
    cancellation.check()
    num_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    image = _decode(file.read(num_bytes) or b"", max_pixels)
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


_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows an image upright, by its EXIF orientation."""


def _decode(content: bytes, max_pixels: int) -> Image.Image:
    """Return the RGB image that `decode_image` describes."""
    _configure_pillow(max_pixels)
    try:
        file = reduce_to_pixels(content)
        del content
        image = _load_jpeg_without_end(file, max_pixels) if file.lacks_end else _load(file.content, max_pixels)
        transposition = _TRANSPOSITIONS.get(file.orientation)
        return image if transposition is None else image.transpose(transposition)
    except InvalidFile:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(max_pixels) from error
    except MemoryError as error:
        raise InvalidFile("The image takes too much memory to decode; scale it down and send it again.") from error
    except Exception as error:
        # Damaged files make Pillow raise almost anything; only OSError is documented.
        logger.info("An image cannot be decoded: %r", error)
        raise InvalidFile(
            "The image cannot be decoded: it is damaged or incomplete. Open it in an image editor, save it again as "
            "JPG or PNG, and send that."
        ) from error


def _load(content: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(max_pixels)
    if max(image.size) > MAX_SIDE_PX:
        raise InvalidFile(
            f"The image is {image.width:,} x {image.height:,} pixels; cut out a part with no side longer than "
            f"{MAX_SIDE_PX:,} and send that."
        )
    image.load()
    return _as_rgb(image)


_JPEG_END = b"\xff\xd9"
_CONTINUATIONS = (bytes(range(1, 65)), bytes(range(254, 190, -1)))
"""Two continuations of compressed data that differ in each bit."""


def _load_jpeg_without_end(file: ImageFile, max_pixels: int) -> Image.Image:
    """Load a JPEG that breaks off, if it has all pixels.

    libjpeg makes up the pixels that are missing, and says nothing. But what follows the last pixel changes none, and so
    the pixels are all there if two continuations give the same picture.
    """
    digests = set()
    for continuation in _CONTINUATIONS:
        image = _load(b"".join([file.content, continuation, _JPEG_END]), max_pixels)
        digests.add(_digest(image))
    if len(digests) > 1:
        raise ValueError("the JPEG breaks off before its last pixel")
    return image


def _digest(image: Image.Image) -> bytes:
    sha256 = hashlib.sha256()
    for top in range(0, image.height, 64):
        sha256.update(image.crop((0, top, image.width, min(top + 64, image.height))).tobytes())
    return sha256.digest()


def _too_many_pixels(max_pixels: int) -> InvalidFile:
    return InvalidFile(f"The image has more than {max_pixels:,} pixels; scale it down and send it again.")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit greyscale: Pillow's own conversion clips at 255 instead of scaling.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    foreground = image if image.mode == "RGBA" else image.convert("RGBA")
    if image.format == "BMP" and foreground.getchannel("A").getextrema() == (0, 0):
        # Clipboards and screenshot programs leave the alpha channel of an opaque picture at 0.
        return foreground.convert("RGB")
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
