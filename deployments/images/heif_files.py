"""Reads the structure of HEIF files, which hold HEIC and AVIF pictures: ISO/IEC 23008-12 and 14496-12.

A file is a sequence of boxes. The box `meta` lists items: pictures, tiles of which a picture consists, thumbnails and
metadata, each with a type of four letters.
"""

from collections.abc import Iterator

from deployments.containers import Content, read_box_header

_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AV1_BRANDS = {b"avif", b"avis"}
_NEUTRAL_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
"""Brands of HEIF files of any codec."""
_HEVC_ITEMS, _AV1_ITEMS = {b"hvc1", b"lhv1"}, {b"av01"}
_METADATA_ITEMS = {b"Exif", b"mime", b"uri "}
_UNKNOWN_ITEM = b"skip"
"""A type of item that decoders do not know, and so leave alone."""

_FTYP, _META, _IINF, _INFE = (int.from_bytes(name, "big") for name in (b"ftyp", b"meta", b"iinf", b"infe"))
_MAX_BOXES = 10_000
_MAX_BRANDS = 64


def is_heif(content: Content) -> bool:
    """Return whether the content begins like a HEIF file, by its main brand."""
    head = bytes(memoryview(content)[:12])
    return head[4:8] == b"ftyp" and head[8:] in _HEVC_BRANDS | _AV1_BRANDS | _NEUTRAL_BRANDS


def codec_of(content: Content) -> str | None:
    """Return "HEIC" or "AVIF" by the pictures that a HEIF file lists, or else by its brands; None for other codecs."""
    view = memoryview(content)
    types = {bytes(view[start : start + 4]) for start in _item_types(view)}
    has_hevc, has_av1 = bool(types & _HEVC_ITEMS), bool(types & _AV1_ITEMS)
    if has_hevc != has_av1:
        return "HEIC" if has_hevc else "AVIF"
    brands = _brands(view)
    if types and not has_hevc:
        return None
    for brand in brands:
        if brand in _HEVC_BRANDS | _AV1_BRANDS:
            return "HEIC" if brand in _HEVC_BRANDS else "AVIF"
    return None


def without_metadata(content: bytes) -> bytes:
    """Return the file with the types of its metadata items changed to one that decoders ignore.

    EXIF data does not say how a HEIF picture is to be turned: that is a property of the picture, which decoders apply.
    """
    changed: bytearray | None = None
    for start in _item_types(memoryview(content)):
        if content[start : start + 4] in _METADATA_ITEMS:
            changed = changed or bytearray(content)
            changed[start : start + 4] = _UNKNOWN_ITEM
    return content if changed is None else bytes(changed)


def _brands(view: memoryview) -> list[bytes]:
    """Return the main brand and the compatible ones."""
    header = read_box_header(view, 0)
    if header is None or header[0] != _FTYP:
        return []
    _, start, end = header
    brands = bytes(view[start : min(end, start + 4 * _MAX_BRANDS)])
    return [brands[at : at + 4] for at in (0, *range(8, len(brands), 4))]


def _item_types(view: memoryview) -> Iterator[int]:
    """Yield the position of each item's type."""
    budget = iter(range(_MAX_BOXES))
    for start, end in _boxes(view, 0, len(view), _META, budget):
        # Version and flags.
        for list_start, list_end in _boxes(view, start + 4, end, _IINF, budget):
            # Version and flags, then the number of items.
            count_bytes = 2 if view[list_start : list_start + 1] == b"\x00" else 4
            for item, item_end in _boxes(view, list_start + 4 + count_bytes, list_end, _INFE, budget):
                version = view[item] if item < len(view) else 0
                # The item's number has 2 bytes, in version 3 it has 4; then 2 bytes of protection.
                position = item + 4 + (4 if version == 3 else 2) + 2
                if version >= 2 and position + 4 <= item_end:
                    yield position


def _boxes(view: memoryview, position: int, end: int, wanted: int, budget: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the content of each box of the name `wanted`."""
    end = min(end, len(view))
    while position + 8 <= end and next(budget, None) is not None:
        header = read_box_header(view[:end], position)
        if header is None:
            return
        name, start, position = header
        if name == wanted:
            yield start, min(position, end)
