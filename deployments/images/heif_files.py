"""Reads the structure of HEIF files, which hold HEIC and AVIF pictures: ISO/IEC 23008-12 and 14496-12.

A file is a sequence of boxes. The box `meta` lists items: pictures, tiles of which a picture consists, thumbnails and
metadata. Each has a number, a type of four letters and a place in the file; one picture is the primary one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from deployments.containers import Content, read_box_header
from deployments.errors import InvalidFile

MAX_TILES = 4096
"""Of one picture. Phones write tiles of 512 x 512: 64 megapixels are 256."""
MAX_EXTRA_PIXELS = 8_000_000
"""By which tiles may have more pixels than twice the picture, which their last row and column exceed."""

_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AV1_BRANDS = {b"avif", b"avis"}
_NEUTRAL_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
"""Brands of HEIF files of any codec."""
_HEVC_ITEMS, _AV1_ITEMS = {b"hvc1", b"lhv1"}, {b"av01"}
_METADATA_ITEMS = {b"Exif", b"mime", b"uri "}
_UNKNOWN_ITEM = b"skip"
"""A type of item that decoders do not know, and so leave alone."""


def _code(name: bytes) -> int:
    return int.from_bytes(name, "big")


_FTYP, _META, _DERIVED = (_code(name) for name in (b"ftyp", b"meta", b"dimg"))
_PITM, _ILOC, _IINF, _INFE, _IREF = (_code(name) for name in (b"pitm", b"iloc", b"iinf", b"infe", b"iref"))
_IPRP, _IPCO, _IPMA, _ISPE = (_code(name) for name in (b"iprp", b"ipco", b"ipma", b"ispe"))
_MAX_DEPTH = 4
"""How deep pictures may consist of others."""
_MAX_BOXES = 10_000
_MAX_BRANDS = 64
_MAX_ENTRIES = 100_000
"""Items, places and references that are read."""


@dataclass
class _Items:
    """What the box `meta` says about the items, by their numbers."""

    primary: int = 0
    types: dict[int, int] = field(default_factory=dict)
    """Where in the file the type of an item is."""
    ends: dict[int, int] = field(default_factory=dict)
    """Where in the file an item ends."""
    parts: dict[int, list[int]] = field(default_factory=dict)
    """The items of which a picture consists."""
    areas: dict[int, int] = field(default_factory=dict)
    """The number of pixels that a picture claims."""
    is_incomplete: bool = False
    """Whether there are more boxes than are read."""


def is_heif(content: Content) -> bool:
    """Return whether the content begins like a HEIF file, by its main brand."""
    head = bytes(memoryview(content)[:12])
    return head[4:8] == b"ftyp" and head[8:] in _HEVC_BRANDS | _AV1_BRANDS | _NEUTRAL_BRANDS


def codec_of(content: Content) -> str | None:
    """Return "HEIC" or "AVIF" by the pictures that a HEIF file lists, or else by its brands; None for other codecs."""
    view = memoryview(content)
    types = {bytes(view[start : start + 4]) for start in _read_items(view).types.values()}
    has_hevc, has_av1 = bool(types & _HEVC_ITEMS), bool(types & _AV1_ITEMS)
    if has_hevc != has_av1:
        return "HEIC" if has_hevc else "AVIF"
    if types and not has_hevc:
        return None
    for brand in _brands(view):
        if brand in _HEVC_BRANDS | _AV1_BRANDS:
            return "HEIC" if brand in _HEVC_BRANDS else "AVIF"
    return None


def primary_picture(content: bytes) -> bytes:
    """Return the file with the types of its metadata items changed to one that decoders ignore.

    EXIF data does not say how a HEIF picture is to be turned: that is a property of the picture, which decoders apply.
    Raises InvalidFile if the picture consists of more tiles than any real one, or of larger ones, and ValueError if the
    file breaks off before its end: decoders make up what is missing.
    """
    items = _read_items(memoryview(content))
    if items.is_incomplete:
        raise InvalidFile(
            f"The image file has more than {_MAX_BOXES:,} parts: it is damaged, or made to exhaust the machine."
        )
    tiles = list(islice(_tiles(items.primary, items.parts, 0), MAX_TILES + 1))
    area = sum(items.areas.get(number, 0) for number in tiles)
    if len(tiles) > MAX_TILES or area > 2 * items.areas.get(items.primary, 0) + MAX_EXTRA_PIXELS:
        raise InvalidFile(
            "The image consists of more tiles, or of larger ones, than it can show: it is damaged, or made to exhaust "
            "the machine."
        )
    if max(items.ends.get(number, 0) for number in (items.primary, *tiles)) > len(content):
        raise ValueError("the HEIF file breaks off within its primary picture")
    changed: bytearray | None = None
    for start in items.types.values():
        if content[start : start + 4] in _METADATA_ITEMS:
            changed = changed or bytearray(content)
            changed[start : start + 4] = _UNKNOWN_ITEM
    return content if changed is None else bytes(changed)


def _tiles(number: int, parts: Mapping[int, Sequence[int]], depth: int) -> Iterator[int]:
    """Yield the items that are decoded for a picture: those of which it consists, or itself."""
    if depth > _MAX_DEPTH:
        raise ValueError("the HEIF file's pictures consist of one another")
    if number not in parts:
        yield number
    for part in parts.get(number, ()):
        yield from _tiles(part, parts, depth + 1)


def _brands(view: memoryview) -> list[bytes]:
    """Return the main brand and the compatible ones."""
    header = read_box_header(view, 0)
    if header is None or header[0] != _FTYP:
        return []
    _, start, end = header
    brands = bytes(view[start : min(end, start + 4 * _MAX_BRANDS)])
    return [brands[at : at + 4] for at in (0, *range(8, len(brands), 4))]


def _read_items(view: memoryview) -> _Items:
    items = _Items()
    budget = iter(range(_MAX_BOXES))
    for name, start, end in _boxes(view, 0, len(view), budget):
        if name != _META:
            continue
        # Version and flags.
        for inner, inner_start, inner_end in _boxes(view, start + 4, end, budget):
            box = _Reader(view[:inner_end], inner_start)
            if inner == _PITM:
                items.primary = box.number(4 if box.version else 2)
            elif inner == _ILOC:
                items.ends = dict(_locations(box))
            elif inner == _IREF:
                items.parts = _parts(view, box, inner_end, budget)
            elif inner == _IPRP:
                items.areas = _areas(view, inner_start, inner_end, budget)
            elif inner == _IINF:
                box.number(4 if box.version else 2)  # how many there are
                for entry, entry_start, entry_end in _boxes(view, box.position, inner_end, budget):
                    info = _Reader(view[:entry_end], entry_start)
                    if entry == _INFE and info.version >= 2:
                        number = info.number(4 if info.version == 3 else 2)
                        info.number(2)  # its protection
                        if info.position + 4 <= entry_end:
                            items.types[number] = info.position
        break
    items.is_incomplete = next(budget, None) is None
    return items


class _Reader:
    """Reads the numbers of a box that begins with a version and flags."""

    def __init__(self, view: memoryview, position: int) -> None:
        self._view = view
        self.position = position
        self.version = self.number(1)
        self.flags = self.number(3)

    @property
    def is_at_end(self) -> bool:
        return self.position >= len(self._view)

    def number(self, num_bytes: int) -> int:
        """Return the next number; 0 if there are no bytes of it."""
        self.position += num_bytes
        return int.from_bytes(self._view[self.position - num_bytes : self.position], "big")


def _locations(box: _Reader) -> Iterator[tuple[int, int]]:
    """Yield (number, end) of each item in the file; of items elsewhere, 0."""
    sizes = box.number(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    number_bytes = 4 if box.version == 2 else 2
    budget = iter(range(_MAX_ENTRIES))
    for _ in range(box.number(number_bytes)):
        number = box.number(number_bytes)
        is_in_file = (box.number(2) & 15 if box.version else 0) == 0
        box.number(2)  # which file
        base, end = box.number(base_bytes), 0
        for _ in range(box.number(2)):
            if box.is_at_end or next(budget, None) is None:
                return
            box.number(index_bytes if box.version else 0)
            offset, length = box.number(offset_bytes), box.number(length_bytes)
            end = max(end, base + offset + length)
        if box.is_at_end and not end:
            return
        yield number, end if is_in_file else 0


def _parts(view: memoryview, box: _Reader, end: int, budget: Iterator[int]) -> dict[int, list[int]]:
    number_bytes = 4 if box.version else 2
    parts: dict[int, list[int]] = {}
    for kind, start, reference_end in _boxes(view, box.position, end, budget):
        if kind != _DERIVED:
            continue
        numbers = bytes(view[start : min(reference_end, start + number_bytes * _MAX_ENTRIES)])
        count_end = number_bytes + 2
        targets = [_code(numbers[at : at + number_bytes]) for at in range(count_end, len(numbers), number_bytes)]
        parts[_code(numbers[:number_bytes])] = targets
    return parts


def _areas(view: memoryview, start: int, end: int, budget: Iterator[int]) -> dict[int, int]:
    """Return the areas of items, by the properties (ipco) that are associated with them (ipma)."""
    property_areas: dict[int, int] = {}
    areas: dict[int, int] = {}
    for name, inner_start, inner_end in _boxes(view, start, end, budget):
        if name == _IPCO:
            for index, (kind, at, _) in enumerate(_boxes(view, inner_start, inner_end, budget), 1):
                if kind == _ISPE:
                    size = _Reader(view, at)
                    property_areas[index] = size.number(4) * size.number(4)
        elif name == _IPMA:
            box = _Reader(view[:inner_end], inner_start)
            number_bytes, index_bytes = 4 if box.version else 2, 2 if box.flags & 1 else 1
            for _ in range(min(box.number(4), _MAX_ENTRIES)):
                number = box.number(number_bytes)
                # The highest bit says that the property is essential.
                indices = [box.number(index_bytes) & (1 << 8 * index_bytes - 1) - 1 for _ in range(box.number(1))]
                areas[number] = max((property_areas.get(index, 0) for index in indices), default=0)
                if box.is_at_end:
                    break
    return areas


def _boxes(view: memoryview, position: int, end: int, budget: Iterator[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (name, start, end) of the content of each box up to `end`; of one that breaks off, what is there."""
    end = min(end, len(view))
    while position + 8 <= end and next(budget, None) is not None:
        header = read_box_header(view[:end], position)
        if header is None:
            return
        name, start, position = header
        yield name, start, min(position, end)
