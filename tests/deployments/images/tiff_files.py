"""TIFF files written by hand, intact and hostile."""

import struct
from collections.abc import Sequence

SHORT, LONG = 3, 4
Entry = tuple[int, int, int, int]
"""(tag, type, number of values, the value or its position)."""


def tiff(entries: Sequence[Entry], rest: bytes = b"", *, next_page: int = 0) -> bytes:
    """Return a little-endian TIFF: its directory at position 8, then `rest`."""
    directory = b"".join(
        struct.pack("<HHI", tag, kind, count) + struct.pack("<HH" if kind == SHORT else "<I", *_value(kind, value))
        for tag, kind, count, value in sorted(entries)
    )
    return (
        b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + directory + struct.pack("<I", next_page) + rest
    )


def rest_position(num_entries: int) -> int:
    """Return where `rest` begins in a TIFF of so many entries."""
    return 8 + 2 + 12 * num_entries + 4


def grey_entries(width: int, height: int, *, compression: int = 1, num_bytes: int, position: int) -> list[Entry]:
    """Return what describes a page of 8-bit greyscale with one strip."""
    return [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, 1, 8),
        (259, SHORT, 1, compression),
        (262, SHORT, 1, 1),
        (273, LONG, 1, position),
        (277, SHORT, 1, 1),
        (278, LONG, 1, height),
        (279, LONG, 1, num_bytes),
    ]


def grey_tiff(
    width: int, height: int, pixels: bytes, *, compression: int = 1, further: Sequence[Entry] = (), next_page: int = 0
) -> bytes:
    """Return a TIFF of one strip of 8-bit greyscale; `further` entries replace others of the same tags."""
    tags = {tag for tag, *_ in further}
    entries = grey_entries(width, height, compression=compression, num_bytes=len(pixels), position=0)
    num_entries = len(further) + sum(entry[0] not in tags for entry in entries)
    position = rest_position(num_entries)
    entries = grey_entries(width, height, compression=compression, num_bytes=len(pixels), position=position)
    kept = [entry for entry in entries if entry[0] not in tags]
    return tiff([*kept, *further], pixels, next_page=next_page)


def _value(kind: int, value: int) -> tuple[int, ...]:
    return (value, 0) if kind == SHORT else (value,)
