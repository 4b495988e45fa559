"""Decodes an image file to RGB.

Replicas do so in a process of its own (deployments/sandbox), by functions that call `decode_file`.
"""

import hashlib
import io
import re
import warnings

import numpy as np
from PIL import Image, WebPImagePlugin

from deployments.errors import InvalidFile
from deployments.images.image_files import ImageFile, reduce_to_pixels
from deployments.log import logger
from deployments.media import Media, Pixels

# Processes that are forked for one image must not import their decoder first.
Image.preinit()
assert WebPImagePlugin.SUPPORTED

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""The only formats that Pillow may open. Every further decoder is one more that a hostile file could attack."""

MAX_SIDE_PX = 1_000_000
"""Pillow needs 48 bytes for each pixel of the longer side to scale an image down. JPEG, GIF and WEBP end at 65 535."""


def decode_image(media: Media, max_pixels: int) -> Pixels:
    """Decode a JPEG, PNG, WEBP, BMP or GIF (first frame) to uint8 RGB, shape (height, width, 3).

    EXIF orientation is applied; colour profiles are not. Transparent parts become white: drawings on a transparent
    background are mostly dark, and would vanish on black. Damage that concerns no pixel is no error.

    Raises InvalidFile if the image has more than `max_pixels` or a side of more than `MAX_SIDE_PX` (checked before
    decoding), or cannot be decoded.
    """
    return np.asarray(_decode(media.tobytes(), max_pixels))


def decode_file(file: io.RawIOBase, max_pixels: int) -> Image.Image:
    """Return the RGB image of a file as `decode_image` would give it; raises as that does."""
    num_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    return _decode(file.read(num_bytes) or b"", max_pixels)


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
