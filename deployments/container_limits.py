"""Refuses media files whose headers claim so much that libav would take minutes or gigabytes to open them.

libav builds its index from the claims of a header before it reads a sample: a table of 1.5 kB can claim 40 million
samples of one size. It puts tags into a list that it searches for each new tag, so 400,000 of them take minutes.
"""

import re
from collections.abc import Iterator
from itertools import islice

import numpy as np

from deployments import asf, flv
from deployments.containers import (
    Content,
    adts_frame_bytes,
    id3_end,
    read_box_header,
    read_chunk_header,
    read_element_header,
    read_page_header,
)
from deployments.errors import InvalidFile

MAX_SAMPLES = 5_000_000
"""Samples (encoded frames) of all tracks of an MP4: a day of AAC has 4 million. libav keeps some 50 bytes of each."""
MAX_TAGS = 10_000
"""Tags, chapters and boxes of a header. Real files have some hundreds, an audiobook some thousands."""

_MAX_HEADERS = 200_000
"""Headers read per file. What a file has after so many is left to the sandbox."""
_MAX_DEPTH = 8
"""How deep boxes, chunks or elements may lie in one another to be counted."""


def check_claims(content: Content) -> None:
    """Return if the file's headers claim what a real file may have; raises InvalidFile otherwise.

    Only what costs libav much is counted, so content of any other type passes.
    """
    view = memoryview(content)
    id3_bytes = id3_end(view)
    num_id3_frames = _num_id3_frames(view[:id3_bytes])
    view = view[id3_bytes:]
    signature = bytes(view[:4])
    if signature in (b"RIFF", b"RF64"):
        num_tags = _num_riff_tags(view)
    elif signature == b"\x1a\x45\xdf\xa3":
        num_tags = _num_matroska_tags(view)
    elif signature == b"fLaC":
        num_tags = _num_flac_tags(view, 4)
    elif signature == b"OggS":
        num_tags = _num_ogg_tags(view)
    elif signature == b"FORM":
        num_tags = _num_aiff_tags(view)
    elif signature == asf.MAGIC[:4]:
        num_tags = asf.num_tags(view)
    elif signature == flv.MAGIC:
        num_tags = flv.num_properties(view, MAX_TAGS)
    elif adts_frame_bytes(bytes(view[:8])) is not None:
        num_tags = _num_inner_id3_frames(view)
    else:
        num_samples, num_tags = _iso_claims(view)
        if num_samples > MAX_SAMPLES:
            raise InvalidFile(
                f"The file's header claims {num_samples:,} samples; the limit is {MAX_SAMPLES:,}: it is damaged, or "
                "made to exhaust the machine."
            )
    if num_id3_frames + num_tags > MAX_TAGS:
        raise InvalidFile(
            f"The file's header has more than {MAX_TAGS:,} tags: it is damaged, or made to exhaust the machine. Remove "
            "its tags, or convert it again and send that."
        )


def _count(items: Iterator[object]) -> int:
    """Return the number of items; counting stops above MAX_TAGS."""
    return sum(1 for _ in islice(items, MAX_TAGS + 1))


# ID3v2: https://id3.org/id3v2.4.0-structure. A frame is an id, a size and, from version 3 on, two bytes of flags. From
# version 4 on, each byte of the size has seven bits.


def _num_id3_frames(view: memoryview) -> int:
    def frames() -> Iterator[int]:
        version = view[3] if len(view) > 3 else 0
        id_bytes, header_bytes = (3, 6) if version == 2 else (4, 10)
        position = 10
        while position + header_bytes <= len(view) and view[position]:
            size = view[position + id_bytes : position + 2 * id_bytes]
            bits = 7 if version >= 4 else 8
            position += header_bytes + sum(byte << bits * place for place, byte in enumerate(reversed(size.tolist())))
            yield position

    return _count(frames())


def _num_inner_id3_frames(view: memoryview) -> int:
    """Return the number of frames of all ID3 tags within a raw AAC stream; libav keeps those of each."""
    count = 0
    for match in re.finditer(b"ID3", view):
        tag = view[match.start() :]
        count += max(1, _num_id3_frames(tag[: id3_end(tag)]))
        if count > MAX_TAGS:
            break
    return count


# AIFF: like RIFF, with big-endian sizes. The chunk "ID3 " holds an ID3 tag.

_ID3_CHUNKS = (int.from_bytes(b"ID3 ", "big"), int.from_bytes(b"id3 ", "big"))
_IFF_HEADER_BYTES = 12


def _num_aiff_tags(view: memoryview) -> int:
    count, position = 0, _IFF_HEADER_BYTES
    for _ in range(_MAX_HEADERS):
        if position + 8 > len(view) or count > MAX_TAGS:
            break
        start, size = position + 8, int.from_bytes(view[position + 4 : position + 8], "big")
        if int.from_bytes(view[position : position + 4], "big") in _ID3_CHUNKS:
            count += _num_id3_frames(view[start : start + size])
        position = start + size + size % 2
    return count


# Vorbis comments: https://xiph.org/vorbis/doc/v-comment.html. The vendor's name with its length, then the number of
# comments; integers are little-endian, of 32 bits.


def _num_comments(view: memoryview) -> int:
    start = 4 + int.from_bytes(view[:4], "little")
    return int.from_bytes(view[start : start + 4], "little")


def _num_flac_tags(view: memoryview, position: int) -> int:
    """Return the number of metadata blocks and comments (RFC 9639, section 8)."""
    count = 0
    while position + 4 <= len(view) and count <= MAX_TAGS:
        flags, start = view[position], position + 4
        count += 1
        if flags & 0x7F == 4:
            count += _num_comments(view[start:])
        if flags & 0x80:
            break
        position = start + int.from_bytes(view[position + 1 : start], "big")
    return count


_MAX_HEADER_PAGES = 100
"""Pages at the start of an Ogg file in which a packet of comments may begin."""


def _num_ogg_tags(view: memoryview) -> int:
    position, count = 0, 0
    for _ in range(_MAX_HEADER_PAGES):
        header = read_page_header(view, position)
        if header is None:
            break
        _, start, position = header
        packet = view[start : start + 4096]
        if bytes(packet[:1]) in (b"\x04", b"\x84"):
            count += _num_comments(packet[4:])
        for name in (b"\x03vorbis", b"OpusTags"):
            if bytes(packet[: len(name)]) == name:
                count += _num_comments(packet[len(name) :])
    return count


_RIFF, _LIST = int.from_bytes(b"RIFF", "big"), int.from_bytes(b"LIST", "big")


def _num_riff_tags(view: memoryview) -> int:
    """Return the number of chunks in lists of type INFO, and of frames in ID3 tags."""

    def chunks(start: int, end: int, is_info: bool, depth: int) -> Iterator[int]:
        """Yield for every chunk how many tags it is or has."""
        position = start
        while position < end and (header := read_chunk_header(view, position)) is not None:
            name, first, position = header
            yield _num_id3_frames(view[first:position]) if name in _ID3_CHUNKS else int(is_info)
            kind = bytes(view[first : first + 4])
            if name in (_RIFF, _LIST) and kind != b"movi" and depth < _MAX_DEPTH:
                yield from chunks(first + 4, min(position, end), kind == b"INFO", depth + 1)

    count = 0
    for num_tags in islice(chunks(0, len(view), False, 0), _MAX_HEADERS):
        count += num_tags
        if count > MAX_TAGS:
            break
    return count


# Matroska: RFC 9559.

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_TAG_LISTS = (0x1254C367, 0x1043A770, 0x1941A469)
"""Tags, chapters and attachments."""
_TAG_ITEMS = (0x7373, 0x67C8, 0x45B9, 0xB6, 0x61A7)
"""Tag, SimpleTag, EditionEntry, ChapterAtom, AttachedFile: they may contain one another."""


def _num_matroska_tags(view: memoryview) -> int:
    def items(start: int, end: int, depth: int) -> Iterator[int]:
        position = start
        while position < end and (header := read_element_header(view, position)) is not None:
            name, first, position = header
            if name in _TAG_ITEMS:
                yield name
                if depth < _MAX_DEPTH:
                    yield from items(first, min(position, end), depth + 1)

    def items_of_lists() -> Iterator[int]:
        position = 0
        for _ in range(_MAX_HEADERS):
            header = read_element_header(view, position) if position < len(view) else None
            if header is None:
                return
            name, first, end = header
            # Inside a segment, and inside a cluster whose end is not known, the next header is its first element's.
            position = first if name == _SEGMENT or (name == _CLUSTER and end == len(view)) else end
            if name in _TAG_LISTS:
                yield from items(first, min(end, len(view)), 0)

    return _count(items_of_lists())


# ISO base media: ISO/IEC 14496-12.


def _code(name: str) -> int:
    return int.from_bytes(name.encode("latin1"), "big")


_HEADER_BOXES = tuple(_code(name) for name in ("moov", "trak", "mdia", "minf", "stbl", "udta", "meta", "ilst"))
_FRAGMENT_BOXES = tuple(_code(name) for name in ("moof", "traf"))
_MOOV, _TRAK, _META = _code("moov"), _code("trak"), _code("meta")
_STSZ, _STTS, _STSC, _STCO, _CO64 = (_code(name) for name in ("stsz", "stts", "stsc", "stco", "co64"))
_STZ2, _HDLR, _TRUN = _code("stz2"), _code("hdlr"), _code("trun")
_SAMPLES_PER_ENTRY = 1024
"""libav's index has an entry for so many samples of uncompressed sound."""


def _iso_claims(view: memoryview) -> tuple[int, int]:
    """Return how many samples the header and the fragments claim, and the number of boxes in the header."""
    num_samples, num_boxes = 0, 0
    track: dict[int, memoryview] = {}
    for name, start, end, is_in_header in islice(_boxes(view, 0, len(view), 0, False), _MAX_HEADERS):
        num_boxes += is_in_header
        if num_boxes > MAX_TAGS:
            break
        if name == _TRAK:
            num_samples += _track_samples(track)
            track = {}
        elif name == _TRUN:
            num_samples += _number(view[start:end], 4)
        elif is_in_header:
            track[name] = view[start:end]
    return num_samples + _track_samples(track), num_boxes


def _boxes(
    view: memoryview, start: int, end: int, depth: int, is_in_header: bool
) -> Iterator[tuple[int, int, int, bool]]:
    """Yield (name, start, end, whether it is in the header) of all boxes of which others are read."""
    position = start
    while position + 8 <= end:
        header = read_box_header(view, position)
        if header is None:
            return
        name, first, position = header
        yield name, first, min(position, end), is_in_header
        if depth < _MAX_DEPTH and (name in _HEADER_BOXES or name in _FRAGMENT_BOXES):
            first += 4 if name == _META and bytes(view[first : first + 4]) == bytes(4) else 0
            yield from _boxes(view, first, min(position, end), depth + 1, is_in_header or name == _MOOV)


def _number(box: memoryview, position: int) -> int:
    return int.from_bytes(box[position : position + 4], "big")


def _track_samples(track: dict[int, memoryview]) -> int:
    """Return for how many samples libav makes an entry in the index of a track, given its boxes by name."""
    empty = memoryview(b"")
    # A track should have one of the two tables of sizes; libav takes the last one.
    num_samples = max(_number(track.get(name, empty), 8) for name in (_STSZ, _STZ2))
    times = track.get(_STTS, empty)
    is_sound = bytes(track.get(_HDLR, empty)[8:12]) == b"soun"
    if not (is_sound and _number(times, 4) == 1 and _number(times, 12) == 1):
        return num_samples
    # Uncompressed sound, where each value is a sample, is indexed by chunks: the table has (the number of the first
    # chunk to which the entry applies, samples of each of these chunks, description).
    num_chunks = _number(track.get(_STCO, empty) or track.get(_CO64, empty), 4)
    table = track.get(_STSC, empty)[8:]
    entries = np.frombuffer(table[: len(table) // 12 * 12], ">u4").reshape(-1, 3).astype(np.float64)
    counts = np.diff(entries[:, 0], append=num_chunks + 1).clip(0, num_chunks)
    return int((counts * np.ceil(entries[:, 1] / _SAMPLES_PER_ENTRY)).sum())
