"""Reduces an image file to what its first picture's pixels need.

Decoders also read what concerns no pixel: text, colour profiles, thumbnails, further frames. Damage there must not make
a picture unreadable, and a hostile file can hold a million such parts. So they are left out before the file is decoded,
and the number of parts is bounded. A BMP has no such parts. Of HEIC and AVIF only the metadata is left out: their
decoders bound the rest.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.errors import InvalidFile
from deployments.images import heif_files, tiff_files

MAX_PARTS = 100_000
"""Segments, chunks, strips or tiles per file. A PNG of 10 MB usually has 1300 chunks."""
MAX_GIF_BLOCKS = 1_000_000
"""A GIF's blocks hold 255 bytes at most, usually just that."""
MAX_SCANS = 100
"""Scans of a JPEG, each of which passes over the whole picture. Progressive JPEGs have about ten; libjpeg's own
programs do not write more than this."""


@dataclass(frozen=True)
class ImageFile:
    """An image file of one picture, with nothing that concerns no pixel."""

    content: bytes
    file_format: str
    """Pillow's name of the format, by which the one decoder is chosen that reads the file; or "HEIC"."""
    orientation: int = 1
    """How the picture is stored, 1 to 8, by the EXIF standard."""
    lacks_end: bool = False
    """A JPEG that breaks off: without decoding, it cannot be seen whether pixels are missing."""


def reduce_to_pixels(content: bytes) -> ImageFile:
    """Return `content` with its first picture only, and without text, profiles and the like.

    Content of no known format is taken for a BMP, and returned as it is. Raises InvalidFile if the file has more parts
    than any real one, and ValueError or LookupError if it breaks off before its pixels.
    """
    if content.startswith(b"\xff\xd8"):
        return _reduce_jpeg(content)
    if content.startswith(_PNG_SIGNATURE):
        return _reduce_png(content)
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _reduce_gif(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _reduce_webp(content)
    if content.startswith(tiff_files.SIGNATURES):
        page, orientation = tiff_files.first_page(content, MAX_PARTS)
        return ImageFile(page, "TIFF", orientation)
    if heif_files.is_heif(content):
        return _reduce_heif(content)
    return ImageFile(content, "BMP")


def _part_numbers(max_parts: int, what: str) -> Iterator[int]:
    """Yield numbers for the parts of a file; raises InvalidFile when there are too many."""
    yield from range(max_parts)
    raise InvalidFile(f"The image has more than {max_parts:,} {what}: it is damaged, or made to exhaust the machine.")


# JPEG: ITU-T T.81, annex B. A marker is 0xFF and a byte that is neither 0 nor 0xFF. Most are followed by a segment that
# begins with its length in two bytes. Behind SOS and its segment comes a scan: compressed data, in which 0xFF 0 stands
# for 0xFF, and RST markers may occur.

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_TEM, _RST0, _SOI, _EOI, _SOS = 0x01, 0xD0, 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_SOFS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_EXIF = b"Exif\x00\x00"
_XMP = b"http://ns.adobe.com/xap/1.0/\x00"


def _reduce_jpeg(content: bytes) -> ImageFile:
    view = memoryview(content)
    kept: list[bytes | memoryview] = [view[:2]]
    frame, scans = b"", []
    exif: list[bytes] = []
    xmp = b""
    numbers = _part_numbers(MAX_PARTS, "segments")
    scan_numbers = _part_numbers(MAX_SCANS, "scans")
    position, is_in_scan = 2, False
    while match := (_MARKER_AFTER_SCAN if is_in_scan else _MARKER).search(content, position):
        next(numbers)
        start, marker = match.start(), content[match.start() + 1]
        if is_in_scan:
            kept.append(view[position:start])
        if marker == _EOI:
            kept.append(b"\xff\xd9")
            return ImageFile(b"".join(kept), "JPEG", _orientation(b"".join(exif), xmp))
        if marker == _TEM or _RST0 <= marker <= _SOI:
            kept.append(view[start : start + 2])
            position = start + 2
            continue
        position = start + 2 + int.from_bytes(view[start + 2 : start + 4], "big")
        segment = content[start:position]
        is_in_scan = marker == _SOS
        if is_in_scan:
            next(scan_numbers)
            scans.append(segment)
        elif marker in _SOFS:
            frame = segment
        if marker == _APP1 and segment[4:10] == _EXIF:
            exif.append(segment[10:])
        elif marker == _APP1 and segment[4:].startswith(_XMP):
            xmp = segment[4 + len(_XMP) :]
        # APP0 and APP14 say how colours are stored.
        if marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COM):
            kept.append(segment)
    if not is_in_scan or not _has_all_coefficients(frame, scans):
        raise ValueError("the JPEG breaks off before its last scan")
    kept.append(view[position:])
    return ImageFile(b"".join(kept).rstrip(b"\xff"), "JPEG", _orientation(b"".join(exif), xmp), lacks_end=True)


def _has_all_coefficients(frame: bytes, scans: list[bytes]) -> bool:
    """Return whether the scans of a frame give, for each component, all bits of all 64 coefficients of a block."""
    components = frame[10 : 10 + 3 * frame[9] : 3]
    complete: dict[int, set[int]] = {component: set() for component in components}
    for scan in scans:
        num_components = scan[4]
        first, last, bits = scan[5 + 2 * num_components : 8 + 2 * num_components]
        if bits & 15 == 0:
            for component in scan[5 : 5 + 2 * num_components : 2]:
                complete[component].update(range(first, last + 1))
    return all(len(coefficients) == 64 for coefficients in complete.values())


# PNG: ISO/IEC 15948. A chunk is the length of its content, a name of four letters, the content and its checksum.

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OPTIONAL = (b"tRNS", b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that are used if they are intact."""
_EXIF_KEYWORD, _XMP_KEYWORD = b"Raw profile type exif\x00", b"XML:com.adobe.xmp\x00"
"""What texts begin with that hold EXIF data, as ImageMagick stores it, and XMP data."""
_MAX_TEXT_BYTES = 1024 * 1024
"""Of text that may hold an orientation."""
_MAX_PIXEL_BYTES = 1024 * 1024 * 1024
"""Of a PNG that breaks off; a hostile one could expand to any size."""
_TRANSPARENCY_BYTES = {0: 2, 2: 6, 3: 1}
"""The least size of tRNS, by the colour type. The other types have an alpha channel."""
_PALETTE = 3


def _reduce_png(content: bytes) -> ImageFile:
    view = memoryview(content)
    header = palette = transparency = exif = b""
    exif_text: bytes | None = None
    xmp: bytes | None = None
    data: list[bytes | memoryview] = []
    has_end = False
    numbers = _part_numbers(MAX_PARTS, "chunks")
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(content):
        next(numbers)
        start = position + 8
        end = start + int.from_bytes(view[position : position + 4], "big")
        name, chunk = content[position + 4 : start], view[position : end + 4]
        position = end + 4
        if name == b"IDAT":
            data.append(view[start:end])
        elif name == b"IEND":
            has_end = True
            break
        elif name == b"IHDR":
            header = header or bytes(chunk)
        elif name == b"PLTE":
            palette = palette or bytes(chunk)
        elif name in _OPTIONAL and _is_intact(chunk):
            if name == b"tRNS" and not data:
                transparency = transparency or bytes(chunk)
            elif name == b"eXIf":
                exif = exif or content[start:end]
            # Only the first text of each kind: expanding thousands of them would take minutes.
            elif exif_text is None and content.startswith(_EXIF_KEYWORD, start):
                exif_text = _exif_in_text(name, content[start:end])
            elif xmp is None and content.startswith(_XMP_KEYWORD, start):
                xmp = _png_text(name, content[start:end])
    if not has_end:
        data = [_with_checksum(b"".join(data))]
    color_type = header[17]
    kept = [_PNG_SIGNATURE, header]
    if color_type == _PALETTE:
        kept.append(palette)
    if len(transparency) - 12 >= _TRANSPARENCY_BYTES.get(color_type, len(transparency)):
        kept.append(transparency)
    content = b"".join([*kept, *_png_chunk(b"IDAT", data), *_png_chunk(b"IEND", [])])
    return ImageFile(content, "PNG", _orientation(exif or exif_text or b"", xmp or b""))


def _with_checksum(data: bytes) -> bytes:
    """Return the zlib data of a PNG that breaks off; its checksum is completed if nothing else is missing."""
    # Raw deflate data, without zlib's header of 2 bytes and the checksum.
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    rest, checksum, num_bytes = data[2:], 1, 0
    while rest and not decompressor.eof and num_bytes < _MAX_PIXEL_BYTES:
        try:
            part = decompressor.decompress(rest, 1024 * 1024)
        except zlib.error:
            return data
        rest = decompressor.unconsumed_tail
        checksum = zlib.adler32(part, checksum)
        num_bytes += len(part)
    if not decompressor.eof or len(decompressor.unused_data) >= 4:
        return data
    return data[: len(data) - len(decompressor.unused_data)] + checksum.to_bytes(4, "big")


def _png_chunk(name: bytes, content: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the parts of one chunk."""
    yield sum(len(part) for part in content).to_bytes(4, "big")
    yield name
    checksum = zlib.crc32(name)
    for part in content:
        yield part
        checksum = zlib.crc32(part, checksum)
    yield checksum.to_bytes(4, "big")


def _is_intact(chunk: memoryview) -> bool:
    return len(chunk) >= 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _exif_in_text(name: bytes, content: bytes) -> bytes:
    """Return EXIF data as ImageMagick stores it: in hexadecimal digits, behind three lines of text."""
    lines = _png_text(name, content).split(b"\n")[3:]
    try:
        return bytes.fromhex(b"".join(lines).decode("ascii"))
    except ValueError:
        return b""


def _png_text(name: bytes, content: bytes) -> bytes:
    """Return the text of a chunk tEXt, zTXt or iTXt; empty if it is damaged or too long."""
    _, _, text = content.partition(b"\x00")
    is_compressed = name == b"zTXt"
    if name == b"zTXt":
        text = text[1:]
    elif name == b"iTXt":
        is_compressed = text[:1] == b"\x01"
        text = b"".join(text[2:].split(b"\x00", 2)[2:])
    if not is_compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""


# GIF89a, by CompuServe. Extensions and pictures hold their data in blocks: a length of one byte, and as many bytes. An
# empty block ends them.

_EXTENSION, _PICTURE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9
"""The extension with the transparent colour of the picture that follows."""


def _reduce_gif(content: bytes) -> ImageFile:
    numbers = _part_numbers(MAX_GIF_BLOCKS, "blocks")
    position = 13 + _color_table_bytes(content[10])
    header, control = content[:position], b""
    while content[position] != _TRAILER:
        next(numbers)
        start = position
        if content[start] == _EXTENSION:
            position = _blocks_end(content, start + 2, numbers)
            if content[start + 1] == _GRAPHIC_CONTROL:
                control = content[start:position]
        elif content[start] == _PICTURE:
            position = _blocks_end(content, start + 11 + _color_table_bytes(content[start + 9]), numbers)
            end = bytes([_TRAILER]) if position <= len(content) else b""
            return ImageFile(b"".join([header, control, content[start:position], end]), "GIF")
        else:
            position += 1
    raise ValueError("the GIF has no picture")


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks_end(content: bytes, position: int, numbers: Iterator[int]) -> int:
    """Return the position after the blocks that start at `position`; past the end of the file if they break off."""
    while position < len(content) and content[position]:
        next(numbers)
        position += 1 + content[position]
    return position + 1


# WEBP: RFC 9649. A chunk is a name, a size and its content, padded to an even length. In the extended format, VP8X
# comes first, and says by its flags what else there is.

_EXTENDED = b"VP8X"
_WEBP_PIXELS = (_EXTENDED, b"ANIM", b"ALPH", b"VP8 ", b"VP8L", b"ANMF")
_PIXEL_FLAGS = 0x10 | 0x02
"""An alpha channel, an animation."""


def _reduce_webp(content: bytes) -> ImageFile:
    chunks: dict[bytes, bytes] = {}
    position = 12
    numbers = _part_numbers(MAX_PARTS, "chunks")
    while position + 8 <= len(content):
        next(numbers)
        name = content[position : position + 4]
        start, size = position + 8, int.from_bytes(content[position + 4 : position + 8], "little")
        position = start + size + size % 2
        if name in chunks:
            continue
        if start + size > len(content):
            if name in _WEBP_PIXELS:
                raise ValueError(f"the WEBP breaks off in its chunk {name!r}")
            break
        if name in _WEBP_PIXELS or name in (b"EXIF", b"XMP "):
            chunks[name] = content[start : start + size]
        if _EXTENDED not in chunks:
            break
    if _EXTENDED in chunks:
        flags = chunks[_EXTENDED][0] & _PIXEL_FLAGS
        chunks[_EXTENDED] = bytes([flags]) + chunks[_EXTENDED][1:]
    kept = b"".join(
        b"".join([name, len(chunks[name]).to_bytes(4, "little"), chunks[name], bytes(len(chunks[name]) % 2)])
        for name in _WEBP_PIXELS
        if name in chunks
    )
    orientation = _orientation(chunks.get(b"EXIF", b""), chunks.get(b"XMP ", b""))
    return ImageFile(b"".join([b"RIFF", (4 + len(kept)).to_bytes(4, "little"), b"WEBP", kept]), "WEBP", orientation)


def _reduce_heif(content: bytes) -> ImageFile:
    codec = heif_files.codec_of(content)
    if codec is None:
        raise InvalidFile(
            "The image is a HEIF file in a codec that is not supported; save it as JPG or PNG and send that."
        )
    return ImageFile(heif_files.primary_picture(content), codec)


# EXIF: CIPA DC-008. Its data is a TIFF file: a byte order, and where the first directory is; that has a number of
# entries of 12 bytes: tag, type, number of values, and the value if it is short.

_ORIENTATION_TAG = 0x0112
_VALUE_BYTES = {1: 1, 3: 2, 4: 4}
"""By the type: BYTE, SHORT, LONG."""
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def _orientation(exif: bytes, xmp: bytes) -> int:
    """Return the orientation by the EXIF data, else by the XMP data, else 1. Damaged data says nothing."""
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    orientation = _exif_orientation(exif)
    if orientation is None:
        match = _XMP_ORIENTATION.search(xmp)
        orientation = int(match[1]) if match else 1
    return orientation


def _exif_orientation(exif: bytes) -> int | None:
    if exif[:4] not in (b"II*\x00", b"MM\x00*"):
        return None
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def number(start: int, num_bytes: int) -> int:
        return int.from_bytes(exif[start : start + num_bytes], order)

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(exif):
            break
        if number(entry, 2) == _ORIENTATION_TAG:
            value = number(entry + 8, _VALUE_BYTES.get(number(entry + 2, 2), 0))
            return value if 1 <= value <= 8 else None
    return None
