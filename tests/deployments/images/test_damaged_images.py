"""Damage that concerns no pixel is no damage; if pixels are missing, the image is refused."""

import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from deployments.errors import InvalidFile
from deployments.images.decoding import decode_image
from deployments.images.image_files import MAX_GIF_BLOCKS, MAX_PARTS, MAX_SCANS, reduce_to_pixels
from deployments.media import Pixels, as_media
from tests.deployments.images.images import (
    bmp,
    chunk,
    encoded,
    gif_of_many_blocks,
    jpeg_of_many_scans,
    jpeg_of_many_segments,
    noise,
    png_of_many_chunks,
    webp_chunk,
    webp_of_many_chunks,
    webp_with_chunks,
    with_chunks,
    with_wrong_checksum,
)

PNG = encoded(noise(), "PNG")
MEGABYTE = bytes(3 * 2**20)


def decoded(content: bytes) -> Pixels:
    return decode_image(as_media(content), 64_000_000)


def assert_same(content: bytes, intact: bytes) -> None:
    np.testing.assert_array_equal(decoded(content), decoded(intact))


def assert_refused(content: bytes, words: str = "damaged or incomplete.*save it again") -> None:
    with pytest.raises(InvalidFile, match=words):
        decoded(content)


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    "part",
    [
        chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(MEGABYTE)),
        chunk(b"iTXt", b"Comment\x00\x01\x00\x00\x00" + zlib.compress(MEGABYTE)),
        chunk(b"tEXt", b"Comment\x00" + MEGABYTE),
        chunk(b"tEXt", b"Comment\x00hello") * 2000,
        chunk(b"tEXt", b"Comment\x00hello", checksum_error=1),
        chunk(b"zTXt", b"Comment\x00\x00" + b"not compressed"),
        chunk(b"zTXt", b"Comment\x00\x07unknown"),
        chunk(b"iCCP", b"sRGB\x00\x00" + zlib.compress(MEGABYTE)),
        chunk(b"iCCP", b"sRGB\x00\x01"),
        chunk(b"iCCP", b""),
        chunk(b"gAMA", b"\x00"),
        chunk(b"pHYs", b""),
        chunk(b"cHRM", b"", checksum_error=1),
        chunk(b"eXIf", b"II*\x00\x08\x00\x00\x00\xff\xff"),
        chunk(b"eXIf", b"", checksum_error=1),
        chunk(b"acTL", b""),
        chunk(b"fcTL", bytes(26)),
        chunk(b"tRNS", b""),
        chunk(b"tRNS", bytes(6), checksum_error=1),
        chunk(b"PLTE", bytes(3), checksum_error=1),
    ],
    ids=range(20),
)
def test_a_png_with_anything_else_has_the_same_pixels(part: bytes, before: bytes) -> None:
    assert_same(with_chunks(PNG, part, before), PNG)


def test_a_png_that_breaks_off_after_its_pixels_is_whole() -> None:
    end = PNG.index(b"IEND") - 4
    text = chunk(b"tEXt", b"Comment\x00hello")
    for content in (PNG[:end], PNG[: end + 3], PNG[: end + 8], PNG[:end] + text[:-6], PNG[: end - 4], PNG + b"more"):
        assert_same(content, PNG)
    assert_refused(PNG[: end - 40])


@pytest.mark.parametrize("image", [noise(), noise().convert("P"), Image.new("L", (300, 200), 7)], ids="RGB P L".split())
def test_a_png_that_breaks_off_is_whole_exactly_if_no_pixel_is_missing(image: Image.Image) -> None:
    intact = encoded(image, "PNG")
    pixels = decoded(intact)
    # The chunk IEND, and the checksums of the last IDAT and of its zlib data.
    for num_missing in range(1, 12 + 4 + 4 + 1):
        np.testing.assert_array_equal(decoded(intact[:-num_missing]), pixels)
    for num_missing in range(24, len(intact) - 60, 13):
        assert_refused(intact[:-num_missing])


def test_a_png_with_text_between_its_pixels_is_whole() -> None:
    start = PNG.index(b"IDAT")
    data = PNG[start + 4 : start + 4 + int.from_bytes(PNG[start - 4 : start], "big")]
    parts = chunk(b"IDAT", data[:100]) + chunk(b"tEXt", b"a\x00b") + chunk(b"IDAT", b"") + chunk(b"IDAT", data[100:])
    assert_same(PNG[: start - 4] + parts + chunk(b"IEND", b""), PNG)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_a_png_with_damage_to_what_its_pixels_need_is_refused(name: bytes) -> None:
    assert_refused(with_wrong_checksum(encoded(noise().convert("P"), "PNG"), name))


def test_a_png_with_damaged_transparency_is_opaque() -> None:
    image = noise()
    image.putalpha(0)
    image = image.convert("P")
    transparent = encoded(image, "PNG", transparency=bytes(256))
    assert decoded(transparent).min() == 255
    assert decoded(with_wrong_checksum(transparent, b"tRNS")).min() < 255


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {"pnginfo": "exif"}),
        ("PNG", {"pnginfo": "xmp"}),
        ("JPEG", {"xmp": b'<x tiff:Orientation="6">'}),
        ("WEBP", {"xmp": b"<tiff:Orientation>6</tiff:Orientation>", "lossless": True}),
    ],
)
def test_an_orientation_is_also_found_in_xmp_data_and_in_text(image_format: str, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngImagePlugin.PngInfo()
    digits = exif.tobytes().hex()
    if options.get("pnginfo") == "exif":
        info.add_text("Raw profile type exif", f"\nexif\n{len(digits) // 2:8}\n{digits}\n", zip=True)
    else:
        info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6">', zip=True)
    if "pnginfo" in options:
        options = {"pnginfo": info}
    assert decoded(encoded(noise(), image_format, **options)).shape == (64, 48, 3)


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True, "quality": 95, "subsampling": 0},
    "restarts": {"restart_marker_blocks": 3},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_breaks_off_is_whole_exactly_if_no_pixel_is_missing(name: str, mode: str) -> None:
    intact = encoded(noise().convert(mode), "JPEG", **JPEGS[name])
    pixels = decoded(intact)
    assert intact.endswith(b"\xff\xd9")
    for num_missing in (1, 2):
        np.testing.assert_array_equal(decoded(intact[:-num_missing]), pixels)
    for num_missing in [*range(3, 60), *range(60, len(intact), 97)]:
        try:
            np.testing.assert_array_equal(decoded(intact[:-num_missing]), pixels)
        except InvalidFile:
            continue
        # A byte that has no bit of a pixel, only padding.
        assert num_missing == 3


def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused() -> None:
    intact = encoded(noise(), "JPEG", progressive=True)
    last_scan = intact.rindex(b"\xff\xda")
    start_of_tables = intact.rindex(b"\xff\xc4", 0, last_scan)
    assert_refused(intact[:last_scan])
    assert_refused(intact[:start_of_tables])


def test_a_jpeg_with_anything_else_has_the_same_pixels() -> None:
    jpeg = encoded(noise(), "JPEG")
    for segment in (
        b"\xff\xe1\x00\x0eExif\x00\x00MM\x00*\xff\xff",
        b"\xff\xe2\x00\x10ICC_PROFILE\x00\x01",
        b"\xff\xe2\x00\x0cMPF\x00II*\x00\x00\x00",
        b"\xff\xed\x00\x12Photoshop 3.0\x008B",
        b"\xff\xfe\x00\x04\xff\xd9",
        b"\xff\xff\xff\xe5\x00\x02",
        b"junk",
    ):
        assert_same(jpeg[:2] + segment + jpeg[2:], jpeg)
        assert_same(jpeg + segment, jpeg)


def test_a_gif_needs_no_more_than_its_first_picture() -> None:
    gif = encoded(noise(), "GIF")
    animated = encoded(noise(), "GIF", save_all=True, append_images=[noise(seed=2)], loop=0, comment=b"x" * 600)
    assert_same(animated, gif)
    for num_bytes in (len(gif), len(animated) - 1, len(animated) - 500):
        assert_same(animated[:num_bytes] if num_bytes > len(gif) + 700 else animated, gif)
    assert_same(gif[:-1], gif)
    assert_same(gif[:-2], gif)


def test_a_webp_needs_no_more_than_its_first_picture() -> None:
    for image in (noise(), noise().convert("RGBA")):
        webp = encoded(image, "WEBP", lossless=True, exif=Image.Exif().tobytes())
        for parts in (
            webp_chunk(b"XMP ", b"<x/>"),
            webp_chunk(b"JUNK", b"x" * 101),
            webp_chunk(b"EXIF", b"x" * 999)[:-500],
            b"\x00" * 5,
        ):
            assert_same(webp_with_chunks(webp, parts), webp)
        animated = encoded(image, "WEBP", lossless=True, save_all=True, append_images=[noise(seed=2)])
        assert_same(animated, webp)
        assert_same(animated[:-700], webp)


@pytest.mark.parametrize(("image_format", "num_spare"), [("BMP", 3), ("GIF", 2)])
def test_an_image_that_lacks_its_last_bytes_is_whole_exactly_if_no_pixel_is_missing(
    image_format: str, num_spare: int
) -> None:
    intact = encoded(noise(63, 48), image_format)
    for num_missing in range(1, num_spare + 1):
        assert_same(intact[:-num_missing], intact)
    for num_missing in range(num_spare + 1, len(intact) - 900, 97):
        assert_refused(intact[:-num_missing])


@pytest.mark.parametrize("header_bytes", [56, 108, 124])
def test_a_bmp_whose_alpha_is_zero_everywhere_is_opaque(header_bytes: int) -> None:
    pixels = np.dstack([np.asarray(noise()), np.zeros((48, 64), np.uint8)])
    np.testing.assert_array_equal(decoded(bmp(pixels, header_bytes)), pixels[:, :, 2::-1])


@pytest.mark.parametrize("header_bytes", [56, 108, 124])
def test_a_bmp_with_an_alpha_channel_keeps_it(header_bytes: int) -> None:
    pixels = np.dstack([np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)])
    pixels[10, 20, 3] = 255
    shown = decoded(bmp(pixels, header_bytes))
    assert shown[10, 20].tolist() == [0, 0, 0]
    assert shown[0, 0].tolist() == [255, 255, 255]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a JPEG of 62 MP in 60,000 scans": (lambda: jpeg_of_many_scans(60_000), "more than 100 scans"),
    "a JPEG of 700,000 segments": (lambda: jpeg_of_many_segments(700_000), "more than 100,000 segments"),
    "a PNG of 800,000 parts": (lambda: png_of_many_chunks(800_000, b"IDAT"), "more than 100,000 chunks"),
    "a PNG of 800,000 texts": (lambda: png_of_many_chunks(800_000, b"tEXt"), "more than 100,000 chunks"),
    "a GIF of 4,000,000 blocks": (lambda: gif_of_many_blocks(4_000_000), "more than 1,000,000 blocks"),
    "a WEBP of 1,000,000 chunks": (lambda: webp_of_many_chunks(1_000_000), "more than 100,000 chunks"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_image_of_too_many_parts_is_refused_at_once(name: str) -> None:
    make, words = HOSTILE[name]
    content = make()
    started = time.thread_time()
    assert_refused(content, words)
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("fill", [b"\n", b"0", b"0\n"])
def test_only_one_of_many_compressed_texts_is_expanded(fill: bytes) -> None:
    """Each would expand to a megabyte of lines or digits, and all of them take ten minutes."""
    text = b"Raw profile type exif\0\0" + zlib.compress(fill * (2**20 // len(fill)))
    png = encoded(noise(), "PNG")
    started = time.thread_time()
    assert_same(with_chunks(png, chunk(b"zTXt", text) * 5000, before=b"IDAT"), png)
    assert time.thread_time() - started < 5


def test_an_image_of_as_many_parts_as_allowed_is_decoded() -> None:
    assert_same(png_of_many_chunks(MAX_PARTS // 2, b"tEXt"), PNG)
    assert_same(jpeg_of_many_segments(MAX_PARTS // 2), encoded(noise(), "JPEG"))
    assert_same(gif_of_many_blocks(MAX_GIF_BLOCKS // 2), encoded(noise(), "GIF"))
    assert decoded(jpeg_of_many_scans(MAX_SCANS // 2, side=16)).shape == (16, 16, 3)


def test_any_bytes_are_reduced_or_refused_in_bounded_time() -> None:
    generator = np.random.default_rng(3)
    images = [
        encoded(noise(), "JPEG", progressive=True, exif=Image.Exif()),
        with_chunks(PNG, chunk(b"zTXt", b"Raw profile type exif\x00\x00" + zlib.compress(b"\nexif\n2\nff")), b"IEND"),
        encoded(noise(), "GIF", save_all=True, append_images=[noise(seed=2)]),
        encoded(noise().convert("RGBA"), "WEBP", exif=b"Exif\x00\x00MM\x00*" + struct.pack(">IH", 8, 9)),
    ]
    started = time.thread_time()
    for intact in images:
        for _ in range(300):
            damaged = bytearray(intact[: generator.integers(1, len(intact))])
            for position in generator.integers(0, len(damaged), 6):
                damaged[position] = generator.integers(0, 256)
            try:
                reduce_to_pixels(bytes(damaged))
            except (ValueError, LookupError, InvalidFile):
                continue
    assert time.thread_time() - started < 10
