"""Reads the first directory of TIFF files, and reduces them to it.

TIFF 6.0 by Adobe, section 2, and BigTIFF by AWare Systems, which has 64-bit positions. A directory is a page. It has a
number of entries (tag, type, number of values, and the values or, if they do not fit, their position), and the position
of the next directory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deployments.errors import InvalidFile

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

MAX_ENTRIES = 4096
"""That are read of one directory. Cameras and scanners write some dozens."""

_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""By the type: BYTE, ASCII, SHORT, LONG, RATIONAL, their signed kinds, FLOAT, DOUBLE, IFD, and those of BigTIFF."""
_INTEGER_TYPES = (1, 3, 4, 13, 16, 18)

ORIENTATION = 274
STRIP_POSITIONS, TILE_POSITIONS = 273, 324
_SUBFILE_TYPE = 254
_IS_PREVIEW = 1
"""The bit of the subfile type that says that this is a smaller version of another picture."""
_DNG_VERSION = 50706
_PIXEL_TAGS = {
    *(256, 257, 258, 259, 262, 266),  # size, bits, compression, colours, order of bits
    *(STRIP_POSITIONS, 277, 278, 279, 284),  # strips, samples of a pixel, planes
    *(292, 293, 317, 320, 332),  # fax options, predictor, palette, inks
    *(322, 323, TILE_POSITIONS, 325, 338, 339),  # tiles, alpha, format of samples
    *(347, *range(512, 522), *range(529, 533)),  # JPEG's tables, colour differences
    50674,  # LERC's parameters
}
"""What decoders need; all else concerns no pixel."""


@dataclass(frozen=True)
class Entry:
    """An entry of a directory."""

    tag: int
    kind: int
    count: int
    encoded: bytes
    """As it is stored."""
    value: int | None
    """Its first value, if that is an integer in the entry itself."""

    @property
    def num_bytes(self) -> int:
        """Size of its values."""
        return self.count * _VALUE_BYTES.get(self.kind, 1)


@dataclass(frozen=True)
class _Layout:
    order: Literal["little", "big"]
    is_big: bool

    @property
    def position_bytes(self) -> int:
        return 8 if self.is_big else 4

    @property
    def count_bytes(self) -> int:
        return 8 if self.is_big else 2

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * self.position_bytes

    def number(self, content: bytes | memoryview, start: int, num_bytes: int) -> int:
        return int.from_bytes(content[start : start + num_bytes], self.order)


def read_directory(content: bytes | memoryview) -> Mapping[int, Entry]:
    """Return the entries of the first directory by their tags, the first of each, and at most `MAX_ENTRIES`.

    If it breaks off, those that are there.
    """
    layout = _layout(content)
    position = layout.number(content, 8 if layout.is_big else 4, layout.position_bytes)
    num_entries = min(layout.number(content, position, layout.count_bytes), MAX_ENTRIES)
    entries: dict[int, Entry] = {}
    start = position + layout.count_bytes
    for at in range(start, start + num_entries * layout.entry_bytes, layout.entry_bytes):
        encoded = bytes(content[at : at + layout.entry_bytes])
        if len(encoded) == layout.entry_bytes:
            entry = _entry(layout, encoded)
            entries.setdefault(entry.tag, entry)
    return entries


def is_camera_raw(content: bytes | memoryview) -> bool:
    """Return whether the file holds a camera's sensor data (DNG, NEF, CR2, ARW and others), with a preview as picture.

    A smaller version of another picture counts, too: all but CR2 and DNG are only known by it.
    """
    if bytes(content[8:10]) == b"CR":
        return True
    entries = read_directory(content)
    subfile_type = entries.get(_SUBFILE_TYPE)
    return _DNG_VERSION in entries or (subfile_type is not None and bool((subfile_type.value or 0) & _IS_PREVIEW))


def first_page(content: bytes, max_parts: int) -> tuple[bytes, int]:
    """Return a TIFF with the first page only, without tags that concern no pixel, and the page's orientation, 1 to 8.

    Raises InvalidFile if the page has more strips or tiles than `max_parts`, or values larger than the file, and
    ValueError if there is no page.
    """
    layout = _layout(content)
    entries = read_directory(content)
    kept = [entries[tag] for tag in sorted(entries.keys() & _PIXEL_TAGS)]
    num_parts = max((entries[tag].count for tag in (STRIP_POSITIONS, TILE_POSITIONS) if tag in entries), default=0)
    if not num_parts:
        raise ValueError("the TIFF has no page with pixels")
    if num_parts > max_parts:
        raise InvalidFile(
            f"The image has more than {max_parts:,} strips or tiles: it is damaged, or made to exhaust the machine."
        )
    # Values that lie over one another would be read, and kept, again and again.
    if sum(entry.num_bytes for entry in kept) > len(content):
        raise ValueError("the TIFF's values are larger than the file")
    padding = bytes(len(content) % 2)
    position = (len(content) + len(padding)).to_bytes(layout.position_bytes, layout.order)
    header = content[:8] + position if layout.is_big else content[:4] + position
    directory = [
        len(kept).to_bytes(layout.count_bytes, layout.order),
        *(entry.encoded for entry in kept),
        bytes(layout.position_bytes),  # no next page
    ]
    orientation = entries.get(ORIENTATION)
    number = orientation.value if orientation else None
    return b"".join([header, content[len(header) :], padding, *directory]), number if number and number <= 8 else 1


def _layout(content: bytes | memoryview) -> _Layout:
    head = bytes(content[:4])
    return _Layout("little" if head[:2] == b"II" else "big", b"+" in head)


def _entry(layout: _Layout, encoded: bytes) -> Entry:
    tag, kind = layout.number(encoded, 0, 2), layout.number(encoded, 2, 2)
    count = layout.number(encoded, 4, layout.position_bytes)
    value_bytes = _VALUE_BYTES.get(kind, 0)
    is_inside = kind in _INTEGER_TYPES and 0 < count * value_bytes <= layout.position_bytes
    value = layout.number(encoded, 4 + layout.position_bytes, value_bytes) if is_inside else None
    return Entry(tag, kind, count, encoded, value)
