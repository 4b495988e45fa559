import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deployments.errors import InvalidFile
from deployments.media import Pixels
from tests.deployments.images.images import decoded, encoded, quadrants

ORIENTATION = 0x0112


def _assert_similar(actual: Pixels, expected: Image.Image | NDArray[Any], tolerance: int = 12) -> None:
    wanted = np.asarray(expected)
    assert actual.dtype == np.uint8
    assert actual.shape == wanted.shape
    assert np.abs(actual.astype(int) - wanted.astype(int)).max() <= tolerance


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 95}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
def test_every_format_gives_its_pixels(image_format: str, options: dict[str, Any]) -> None:
    # Lossy formats blur an edge; flat areas far from it must be right.
    pixels = decoded(encoded(quadrants(), image_format, **options))
    _assert_similar(pixels[::12, ::12], np.asarray(quadrants())[::12, ::12], tolerance=20)


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("1", "PNG"),
        ("1", "BMP"),
        ("L", "PNG"),
        ("L", "JPEG"),
        ("L", "BMP"),
        ("L", "GIF"),
        ("I;16", "PNG"),
        ("LA", "PNG"),
    ],
)
def test_a_greyscale_image_has_equal_channels(mode: str, image_format: str) -> None:
    levels = np.where(np.arange(64 * 32).reshape(32, 64) % 64 < 32, 0, 255).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(levels).convert(mode)
    _assert_similar(decoded(encoded(image, image_format)), np.repeat(levels[:, :, None], 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    image = Image.fromarray(np.full((8, 8), 0x8000, np.uint16))
    _assert_similar(decoded(encoded(image, "PNG")), np.full((8, 8, 3), 128, np.uint8), tolerance=1)


def test_a_palette_image_keeps_its_colors() -> None:
    _assert_similar(decoded(encoded(quadrants().convert("P"), "PNG")), quadrants())


def test_a_cmyk_image_keeps_its_colors() -> None:
    pixels = decoded(encoded(quadrants().convert("CMYK"), "JPEG", quality=95, subsampling=0))
    _assert_similar(pixels[::12, ::12], np.asarray(quadrants())[::12, ::12], tolerance=20)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_transparent_parts_show_white(image_format: str) -> None:
    image = quadrants().convert("RGBA")
    image.putalpha(Image.fromarray(np.where(np.arange(64 * 32).reshape(32, 64) % 64 < 32, 0, 255).astype(np.uint8)))
    expected = np.asarray(quadrants()).copy()
    expected[:, :32] = 255
    _assert_similar(decoded(encoded(image, image_format, lossless=True)), expected)


def test_half_transparent_parts_show_half_white() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    _assert_similar(decoded(encoded(image, "PNG")), np.full((8, 8, 3), 127, np.uint8), tolerance=1)


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_shows_white(image_format: str) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((4, 4), 1)
    pixels = decoded(encoded(image, image_format, transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[4, 4].tolist() == [200, 100, 0]


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_decoded(image_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
    _assert_similar(decoded(content), frames[0])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(image_format: str, orientation: int) -> None:
    upright = np.asarray(quadrants())
    # The pixels that a camera stores for an upright image, by the eight orientations of the EXIF standard.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}[
        image_format
    ]
    pixels = decoded(encoded(Image.fromarray(np.ascontiguousarray(stored)), image_format, exif=exif, **options))
    assert pixels.shape == upright.shape
    _assert_similar(pixels[4::12, 4::12], upright[4::12, 4::12], tolerance=20)


def test_damaged_exif_data_is_ignored() -> None:
    content = encoded(quadrants(), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    _assert_similar(decoded(content), quadrants())


def test_a_phone_jpeg_with_a_second_image_inside_is_decoded_as_a_jpeg() -> None:
    content = encoded(
        quadrants(), "MPO", save_all=True, append_images=[quadrants().rotate(180)], quality=95, subsampling=0
    )
    _assert_similar(decoded(content)[4::12, 4::12], np.asarray(quadrants())[4::12, 4::12], tolerance=20)


def _png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"not pixels") + chunk(b"IEND", b"")


# Slightly over the limit, over Pillow's own warning, and over its own error.
@pytest.mark.parametrize("size", [(1001, 1000), (1500, 1000), (60_000, 60_000)])
def test_too_many_pixels_are_rejected_before_decoding(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidFile, match="more than 1,000,000 pixels"):
        decoded(_png_header(*size))


def test_an_image_at_the_pixel_limit_is_decoded() -> None:
    assert decoded(encoded(quadrants(), "PNG"), max_pixels=64 * 32).shape == (32, 64, 3)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_truncated_image_is_rejected_with_what_to_do(image_format: str, fraction: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), image_format)
    with pytest.raises(InvalidFile, match="damaged or incomplete.*save it again"):
        decoded(content[: int(len(content) * fraction)])


def test_corrupted_bytes_give_pixels_or_invalid_file_and_nothing_else() -> None:
    generator = np.random.default_rng(2)
    for image_format in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        intact = encoded(quadrants(), image_format)
        for _ in range(60):
            damaged = bytearray(intact)
            for position in generator.integers(0, len(damaged), 4):
                damaged[position] = generator.integers(0, 256)
            try:
                assert decoded(bytes(damaged)).dtype == np.uint8
            except InvalidFile:
                pass


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.7\n", b"P6 2 2 255\n" + bytes(12)])
def test_content_that_is_not_an_image_is_rejected(content: bytes) -> None:
    with pytest.raises(InvalidFile):
        decoded(content)


def test_an_unsupported_format_is_rejected() -> None:
    with pytest.raises(InvalidFile):
        decoded(encoded(quadrants(), "JPEG2000"))
