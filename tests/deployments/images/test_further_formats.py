"""TIFF, HEIC and AVIF: what each of them has and the older formats do not."""

import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.errors import InvalidFile
from deployments.images.tiff_files import MAX_ENTRIES, is_camera_raw, read_directory
from deployments.media import Pixels
from tests.deployments.images.heif_files import (
    Item,
    coded_picture,
    heif,
    mirror_property,
    picture_file,
    rotation_property,
    tiled_file,
    with_size,
)
from tests.deployments.images.images import decoded, encoded, quadrants
from tests.deployments.images.tiff_files import LONG, SHORT, grey_tiff, tiff

ROOT = Path(__file__).parents[3]
CODECS = ["hvc1", "av01"]


def assert_shows(actual: Pixels, expected: Any) -> None:
    """Compare flat areas: lossy formats blur an edge."""
    wanted = np.asarray(expected)
    assert actual.shape == wanted.shape
    assert np.abs(actual[::12, ::12].astype(int) - wanted[::12, ::12].astype(int)).max() <= 10


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"])
@pytest.mark.parametrize("is_big", [False, True])
def test_a_tiff_of_each_compression_gives_its_pixels(compression: str | None, is_big: bool) -> None:
    assert_shows(decoded(encoded(quadrants(64), "TIFF", compression=compression, big_tiff=is_big)), quadrants(64))


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_gives_its_pixels(compression: str) -> None:
    page = quadrants(64).convert("1", dither=Image.Dither.NONE)
    assert_shows(decoded(encoded(page, "TIFF", compression=compression)), page.convert("RGB"))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_a_tiff_of_each_kind_of_pixels_gives_its_colours(mode: str) -> None:
    expected = quadrants(64).convert("L").convert("RGB") if mode in ("L", "LA") else quadrants(64)
    assert_shows(decoded(encoded(quadrants(64).convert(mode), "TIFF")), expected)


@pytest.mark.parametrize(("num_bits", "is_inverted"), [(12, False), (16, False), (16, True)])
def test_greyscale_of_more_than_8_bits_is_scaled(num_bits: int, is_inverted: bool) -> None:
    level = 0x400 if num_bits == 12 else 0x4000
    pixels = b"\x40\x04\x00" * 32 if num_bits == 12 else struct.pack("<H", level) * 64
    further = [(258, SHORT, 1, num_bits), (262, SHORT, 1, 0 if is_inverted else 1)]
    shown = decoded(grey_tiff(8, 8, pixels, further=further))
    assert np.unique(shown).tolist() == [191 if is_inverted else 64]


def test_colours_of_16_bits_are_scaled() -> None:
    pixels = struct.pack("<HHH", 0x4000, 0x8000, 0xC000) * 64
    bits = struct.pack("<HHH", 16, 16, 16)
    position = 8 + 2 + 12 * 9 + 4
    entries = [
        (256, LONG, 1, 8),
        (257, LONG, 1, 8),
        (258, SHORT, 3, 0),
        (259, SHORT, 1, 1),
        (262, SHORT, 1, 2),
        (273, LONG, 1, position + len(bits)),
        (277, SHORT, 1, 3),
        (278, LONG, 1, 8),
        (279, LONG, 1, len(pixels)),
    ]
    content = tiff(entries, bits + pixels).replace(
        struct.pack("<HHIHH", 258, SHORT, 3, 0, 0), struct.pack("<HHII", 258, SHORT, 3, position)
    )
    assert decoded(content)[4, 4].tolist() == [64, 128, 192]


@pytest.mark.parametrize(("mode", "words"), [("I", "integers of 32 bits"), ("F", "fractions"), ("LAB", "CIELAB")])
def test_a_tiff_of_measurements_is_refused_with_the_reason(mode: str, words: str) -> None:
    with pytest.raises(InvalidFile, match=f"{words}.*save it as JPG or PNG"):
        decoded(encoded(Image.new(mode, (8, 8)), "TIFF"))


def test_the_first_page_of_a_tiff_is_decoded_and_damage_to_others_is_no_error() -> None:
    content = encoded(quadrants(64), "TIFF", save_all=True, append_images=[Image.new("RGB", (10, 10), "red")])
    assert_shows(decoded(content), quadrants(64))
    assert_shows(decoded(content[:-40]), quadrants(64))
    endless = grey_tiff(8, 8, bytes([90]) * 64, next_page=8)
    assert decoded(endless)[0, 0].tolist() == [90, 90, 90]


def test_metadata_of_a_tiff_is_ignored_even_if_it_is_damaged() -> None:
    metadata = [(tag, 7, 2**31, 8) for tag in (700, 33723, 34377, 34665, 34675, 34853, 330)]
    assert decoded(grey_tiff(8, 8, bytes([90]) * 64, further=metadata))[0, 0].tolist() == [90, 90, 90]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_big", [False, True])
def test_the_orientation_of_a_tiff_is_applied(orientation: int, is_big: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = quadrants(64)
    reference = encoded(turned, "JPEG", quality=95, subsampling=0, exif=exif)
    assert_shows(decoded(encoded(turned, "TIFF", tiffinfo={274: orientation}, big_tiff=is_big)), decoded(reference))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("make", [picture_file, tiled_file])
def test_a_heif_picture_gives_its_pixels_in_one_piece_or_in_tiles(codec: str, make: Any) -> None:
    assert_shows(decoded(make(quadrants(64), codec)), quadrants(64))


@pytest.mark.parametrize("codec", CODECS)
def test_a_heif_picture_of_10_bits_gives_its_pixels(codec: str) -> None:
    assert_shows(decoded(picture_file(quadrants(64), codec, pix_fmt="yuv420p10le")), quadrants(64))


def test_the_last_tiles_are_cut_off() -> None:
    picture = quadrants(64).resize((100, 90), Image.Resampling.NEAREST)
    assert decoded(tiled_file(picture)).shape == (90, 100, 3)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("quarter_turns", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_heif_picture_is_turned_and_then_mirrored(codec: str, quarter_turns: int, axis: int | None) -> None:
    properties = [rotation_property(quarter_turns), *([mirror_property(axis)] if axis is not None else [])]
    expected = np.rot90(np.asarray(quadrants(64)), quarter_turns)
    if axis is not None:
        expected = expected[::-1] if axis == 0 else expected[:, ::-1]
    assert_shows(decoded(picture_file(quadrants(64), codec, *properties)), expected)


EXIF_TURNED = Item(
    "Exif",
    b"\0\0\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4),
    references=[("cdsc", [1])],
)


@pytest.mark.parametrize("codec", CODECS)
def test_exif_data_of_a_heif_picture_turns_nothing_and_its_damage_is_no_error(codec: str) -> None:
    """The standard says so (ISO/IEC 23008-12, annex A): phones write the turn as a property and in EXIF data."""
    brand = b"heic" if codec == "hvc1" else b"avif"
    content = heif(coded_picture(quadrants(64), codec), EXIF_TURNED, brand=brand)
    assert_shows(decoded(content), quadrants(64))
    assert_shows(decoded(content[:-20]), quadrants(64))


@pytest.mark.parametrize("codec", CODECS)
def test_the_primary_picture_of_a_collection_is_decoded(codec: str) -> None:
    other = coded_picture(Image.new("RGB", (96, 96), "red"), codec)
    brand = b"heic" if codec == "hvc1" else b"avif"
    content = heif(other, coded_picture(quadrants(64), codec), other, primary=2, brand=brand)
    assert_shows(decoded(content), quadrants(64))


def test_the_first_frame_of_an_animated_avif_is_decoded() -> None:
    content = encoded(quadrants(64), "AVIF", save_all=True, append_images=[Image.new("RGB", (128, 64), "red")])
    assert_shows(decoded(content), quadrants(64))


def test_transparent_parts_of_an_avif_and_of_a_tiff_show_white() -> None:
    for image_format in ("AVIF", "TIFF"):
        image = quadrants(64).convert("RGBA")
        image.putalpha(Image.new("L", image.size, 0))
        assert decoded(encoded(image, image_format)).min() >= 250


@pytest.mark.parametrize("make", [picture_file, tiled_file, lambda picture: picture_file(picture, "av01")])
@pytest.mark.parametrize("fraction", [0.02, 0.2, 0.5, 0.8, 0.97])
def test_a_truncated_heif_picture_is_refused(make: Callable[..., bytes], fraction: float) -> None:
    content = make(quadrants(64))
    with pytest.raises(InvalidFile, match="damaged or incomplete"):
        decoded(content[: int(len(content) * fraction)])


def test_a_heif_file_that_breaks_off_behind_its_primary_picture_is_intact() -> None:
    thumbnail = replace(coded_picture(quadrants(32)), references=[("thmb", [1])])
    assert_shows(decoded(heif(coded_picture(quadrants(64)), thumbnail)[:-20]), quadrants(64))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("fraction", [0.02, 0.2, 0.5, 0.8])
def test_a_truncated_tiff_is_refused(compression: str | None, fraction: float) -> None:
    content = encoded(quadrants(64), "TIFF", compression=compression)
    with pytest.raises(InvalidFile, match="damaged or incomplete"):
        decoded(content[: int(len(content) * fraction)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: grey_tiff(128, 64, bytes(100), compression=5),
        lambda: heif(with_size(coded_picture(quadrants(64)), 30_000, 30_000)),
        lambda: picture_file(quadrants(64)),
        lambda: tiled_file(quadrants(64)),
        lambda: encoded(quadrants(64), "AVIF"),
    ],
)
def test_more_pixels_than_allowed_are_refused_before_they_are_decoded(make: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidFile, match="more than 8,000 pixels"):
        decoded(make(), 8_000)


def test_a_heif_picture_whose_pixels_are_more_than_it_says_is_refused() -> None:
    with pytest.raises(InvalidFile):
        decoded(heif(with_size(coded_picture(quadrants(64)), 16, 16)))


def test_a_tiff_whose_values_lie_over_one_another_is_refused() -> None:
    """Each of them would be read, so that a file of 10 MB would fill gigabytes."""
    values = [(tag, 4, 20_000, 200) for tag in (320, 273, 279, 347, 512, 513)]
    with pytest.raises(InvalidFile, match="damaged or incomplete"):
        decoded(grey_tiff(8, 8, bytes(100_000), further=values))


def test_a_tiff_of_more_strips_than_anybody_writes_is_refused() -> None:
    content = grey_tiff(8, 100_001, bytes(900_000), further=[(273, 4, 100_001, 200), (279, 4, 100_001, 200)])
    with pytest.raises(InvalidFile, match="more than 100,000 strips"):
        decoded(content)


def test_a_directory_of_65535_entries_is_read_in_part() -> None:
    content = b"II*\x00\x08\x00\x00\x00\xff\xff" + b"\x00\x01\x04\x00\x01\x00\x00\x00\x01\x00\x00\x00" * 65_535
    started = time.monotonic()
    assert list(read_directory(content)) == [256]
    assert MAX_ENTRIES < 65_535
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_cameras_raw_image_is_known_by_its_preview_or_version(order: str) -> None:
    start = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "IH", 8, 1)
    assert is_camera_raw(start + struct.pack(order + "HHII", 254, 4, 1, 1) + bytes(4))
    assert is_camera_raw(start + struct.pack(order + "HHI", 50706, 1, 4) + b"\x01\x04\x00\x00" + bytes(4))
    assert not is_camera_raw(start + struct.pack(order + "HHII", 254, 4, 1, 2) + bytes(4))
    assert not is_camera_raw(start)


def test_the_decoder_of_heic_is_loaded_only_when_such_a_file_comes() -> None:
    program = """
import io, sys
from pathlib import Path
from deployments.captioner import preprocessing
from deployments.images.decoding import decode_file
for name in ("picture.jpg", "picture.tiff", "picture.avif", "picture.heic"):
    is_loaded = "pi_heif" in sys.modules
    decode_file(io.FileIO(Path("tests/data") / name), 1_000_000)
    sys.stdout.write(f"{name} {is_loaded} {'pi_heif' in sys.modules}\\n")
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "picture.jpg False False",
        "picture.tiff False False",
        "picture.avif False False",
        "picture.heic False True",
    ]


def test_every_prefix_and_every_damaged_byte_of_a_small_tiff_is_decoded_or_refused() -> None:
    content = encoded(quadrants(8), "TIFF")
    generator = np.random.default_rng(0)
    for position in range(0, len(content), 3):
        for damaged in (content[:position], content[:position] + generator.bytes(1) + content[position + 1 :]):
            try:
                decoded(damaged)
            except InvalidFile:
                continue
