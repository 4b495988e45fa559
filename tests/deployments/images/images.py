"""Encoded images, intact, damaged and hostile, for tests."""

import io
import re
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from deployments.images.decoding import decode_image
from deployments.media import Pixels, as_media

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


def decoded(content: bytes, max_pixels: int = 1_000_000) -> Pixels:
    return decode_image(as_media(content), max_pixels)


def quadrants(size: int = 32) -> Image.Image:
    """Red, green / blue, white: looks different however it is turned or mirrored."""
    pixels = np.zeros((size, 2 * size, 3), np.uint8)
    half = size // 2
    pixels[:half, :size] = (255, 0, 0)
    pixels[:half, size:] = (0, 255, 0)
    pixels[half:, :size] = (0, 0, 255)
    pixels[half:, size:] = (255, 255, 255)
    return Image.fromarray(pixels)


def noise(width: int = 64, height: int = 48, seed: int = 1) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(name: bytes, content: bytes, checksum_error: int = 0) -> bytes:
    checksum = zlib.crc32(name + content) ^ checksum_error
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def with_chunks(png: bytes, chunks: bytes, before: bytes) -> bytes:
    """Return a PNG with `chunks` before its first chunk of the name `before`."""
    position = png.index(before) - 4
    return png[:position] + chunks + png[position:]


def with_wrong_checksum(png: bytes, name: bytes) -> bytes:
    start = png.index(name)
    end = start + 4 + int.from_bytes(png[start - 4 : start], "big")
    return png[:end] + bytes([png[end] ^ 1]) + png[end + 1 :]


def bmp(pixels: Any, header_bytes: int) -> bytes:
    """Return a BMP of BGRA pixels, shape (height, width, 4), with a header of 56, 108 or 124 bytes."""
    height, width, _ = pixels.shape
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    start = struct.pack("<IiiHHIIiiII", header_bytes, width, height, 1, 32, 3, pixels.nbytes, 2835, 2835, 0, 0)
    header = (start + masks).ljust(header_bytes, b"\x00")
    offset = 14 + len(header)
    content: bytes = pixels[::-1].tobytes()
    return b"BM" + struct.pack("<IHHI", offset + len(content), 0, 0, offset) + header + content


def webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def webp_with_chunks(webp: bytes, chunks: bytes) -> bytes:
    """Return a WEBP in the extended format with `chunks` at its end."""
    content = webp[12:] + chunks
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


# Hostile images: small, and without bounds they would keep a decoder busy for minutes.


def jpeg_of_many_scans(num_scans: int, side: int = 7900) -> bytes:
    """Return a progressive JPEG with `side` x `side` pixels and `num_scans` scans of next to nothing."""
    small = encoded(Image.new("L", (16, 16), 90), "JPEG", progressive=True)
    start = small.index(b"\xff\xc2")
    header = small[: start + 5] + struct.pack(">HH", side, side) + small[start + 9 :]
    last = [match.start() for match in re.finditer(b"\xff\xda", header)][-1]
    return header[:last] + header[last:-2] * num_scans + b"\xff\xd9"


def jpeg_of_many_segments(num_segments: int) -> bytes:
    jpeg = encoded(noise(), "JPEG")
    return jpeg[:2] + b"\xff\xe1\x00\x08Exif\x00\x00" * num_segments + jpeg[2:]


def png_of_many_chunks(num_chunks: int, name: bytes) -> bytes:
    return with_chunks(encoded(noise(), "PNG"), chunk(name, b"") * num_chunks, before=b"IDAT")


def gif_of_many_blocks(num_blocks: int) -> bytes:
    gif = encoded(noise(), "GIF")
    return gif[:13] + gif[13 : 13 + 768] + b"!\xfe" + b"\x01x" * num_blocks + b"\x00" + gif[13 + 768 :]


def webp_of_many_chunks(num_chunks: int) -> bytes:
    webp = encoded(noise().convert("RGBA"), "WEBP", exif=b"Exif\x00\x00II*\x00")
    return webp_with_chunks(webp, webp_chunk(b"JUNK", b"") * num_chunks)


def png_of_one_column(height: int) -> bytes:
    """Return a PNG of 1 x `height` black pixels."""
    compress = zlib.compressobj(1)
    data = b"".join(compress.compress(bytes(2 * (height // 64 + 1))) for _ in range(64)) + compress.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, height, 8, 0, 0, 0, 0))
    return PNG_SIGNATURE + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")
