"""Decodes an image file to RGB.

Replicas do so in a process of its own (deployments/sandbox), by functions that call `decode_file`.
"""

import hashlib
import io
import re
import warnings

import numpy as np
from PIL import Image, ImageOps, WebPImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from deployments.errors import InvalidFile
from deployments.images.image_files import ImageFile, reduce_to_pixels
from deployments.log import logger
from deployments.media import Media, Pixels

# Processes that are forked for one image must not import their decoder first.
Image.preinit()
assert WebPImagePlugin.SUPPORTED

_HEIC, _AVIF = "HEIC", "AVIF"

MAX_SIDE_PX = 1_000_000
"""Pillow needs 48 bytes for each pixel of the longer side to scale an image down. JPEG, GIF and WEBP end at 65 535."""


def decode_image(media: Media, max_pixels: int) -> Pixels:
    """Decode an image file to uint8 RGB, shape (height, width, 3).

    Formats: JPEG, PNG, WEBP, BMP, GIF, TIFF, HEIC and AVIF. Of several pictures the first one is decoded: of an
    animation the first frame, of a TIFF the first page; of a HEIC or AVIF collection the primary one. The orientation
    is applied, which HEIC and AVIF have as a property of the picture and the others in EXIF data; colour profiles are
    not. Transparent parts become white: drawings on a transparent background are mostly dark, and would vanish on
    black. Damage that concerns no pixel is no error.

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
        image = (
            _load_jpeg_without_end(file, max_pixels)
            if file.lacks_end
            else _load(file.content, file.file_format, max_pixels)
        )
        transposition = _TRANSPOSITIONS.get(file.orientation)
        return image if transposition is None else image.transpose(transposition)
    except InvalidFile:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(max_pixels) from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocation" not in str(error):
            raise _damaged(error) from error
        raise InvalidFile("The image takes too much memory to decode; scale it down and send it again.") from error
    except Exception as error:
        # Damaged files make Pillow raise almost anything; only OSError is documented.
        raise _damaged(error) from error


def _damaged(error: Exception) -> InvalidFile:
    logger.info("An image cannot be decoded: %r", error)
    return InvalidFile(
        "The image cannot be decoded: it is damaged or incomplete. Open it in an image editor, save it again as JPG or "
        "PNG, and send that."
    )


def _load(content: bytes, file_format: str, max_pixels: int) -> Image.Image:
    if file_format == _HEIC:
        return _as_rgb(_load_heic(content, max_pixels))
    if file_format == _AVIF:
        _prepare_avif()
    # Only the decoder of this format: Pillow would try others, which a hostile file could attack.
    image = Image.open(io.BytesIO(content), formats=(file_format,))
    _check_size(image.size, max_pixels)
    image.load()
    if file_format == _AVIF:
        # Pillow gives the turn and the mirror that are properties of the picture as EXIF data.
        ImageOps.exif_transpose(image, in_place=True)
    return _as_rgb(image)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise _too_many_pixels(max_pixels)
    if max(size) > MAX_SIDE_PX:
        raise InvalidFile(
            f"The image is {width:,} x {height:,} pixels; cut out a part with no side longer than {MAX_SIDE_PX:,} and "
            "send that."
        )


def _prepare_avif() -> None:
    from PIL import AvifImagePlugin  # only when such a file comes: its libraries take memory

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the models need the other cores


def _load_heic(content: bytes, max_pixels: int) -> Image.Image:
    """Return the primary picture of a HEIC file, upright."""
    import pi_heif  # only when such a file comes: it takes memory that no other file needs

    # The models need the other cores. What belongs to a picture beside its pixels is not wanted.
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    file = pi_heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=True, bgr_mode=False)
    _check_size(file.size, max_pixels)
    image: Image.Image = file.to_pillow()
    _check_size(image.size, max_pixels)  # the pixels may be more than the file says
    return image


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
        image = _load(b"".join([file.content, continuation, _JPEG_END]), file.file_format, max_pixels)
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
    if isinstance(image, TiffImageFile) and image.mode in _UNSUPPORTED_TIFF_MODES:
        raise InvalidFile(
            f"The image's pixels are {_UNSUPPORTED_TIFF_MODES[image.mode]}, which is not supported; save it as JPG or "
            "PNG and send that."
        )
    if image.mode.startswith("I"):
        return _from_16_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    foreground = image if image.mode == "RGBA" else image.convert("RGBA")
    if image.format == "BMP" and foreground.getchannel("A").getextrema() == (0, 0):
        # Clipboards and screenshot programs leave the alpha channel of an opaque picture at 0.
        return foreground.convert("RGB")
    composed = Image.new("RGB", foreground.size, "white")
    composed.paste(foreground, mask=foreground)
    return composed


_UNSUPPORTED_TIFF_MODES = {"I": "integers of 32 bits or with a sign", "F": "fractions", "LAB": "in CIELAB"}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Return greyscale of more than 8 bits as 8 bits: Pillow's own conversion clips at 255 instead of scaling."""
    num_bits, is_inverted = 16, False
    if isinstance(image, TiffImageFile):
        num_bits = image.tag_v2[_BITS_PER_SAMPLE][0]
        is_inverted = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO  # Pillow inverts only up to 8 bits
    levels = (np.asarray(image) >> (num_bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - levels if is_inverted else levels)


def _configure_pillow(max_pixels: int) -> None:
    """For the whole process, set Pillow's pixel limit and silence its warnings about unusual files."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    pattern = r"PIL\."
    # Added only once: each new filter makes Python repeat every warning that it has shown before.
    if ("ignore", None, Warning, re.compile(pattern), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=pattern)
