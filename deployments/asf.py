"""Reads the structure of ASF files (WMA, WMV): Advanced Systems Format specification, revision 01.20.03.

An object is a GUID of 16 bytes, its size with these 24 bytes (64 bits, little-endian), and its content.
"""

import uuid
from collections.abc import Iterator

MAGIC = uuid.UUID("75b22630-668e-11cf-a6d9-00aa0062ce6c").bytes_le
"""The GUID of the header object, with which a file begins."""
_DATA = uuid.UUID("75b22636-668e-11cf-a6d9-00aa0062ce6c").bytes_le
_FILE_PROPERTIES = uuid.UUID("8cabdca1-a947-11cf-8ee4-00c00c205365").bytes_le
_HEADER_EXTENSION = uuid.UUID("5fbf03b5-a92e-11cf-8ee3-00c00c205365").bytes_le
_STREAM_PROPERTIES = uuid.UUID("b7dc0791-a9b7-11cf-8ee6-00c00c205365").bytes_le
_MARKERS = uuid.UUID("f487cd01-a951-11cf-8ee6-00c00c205365").bytes_le
_TAG_LISTS = {
    uuid.UUID(name).bytes_le
    for name in (
        "d2d0a440-e307-11d2-97f0-00a0c95ea850",  # extended content description
        "c5f8cbea-5baf-4877-8467-aa8c44fa4cca",  # metadata
        "44231c94-9498-49d1-a141-1d134e457054",  # metadata library
    )
}
_STREAM_KINDS = {
    uuid.UUID("f8699e40-5b4d-11cf-a8fd-00805f5c442b").bytes_le: "audio",
    uuid.UUID("bc19efc0-5b4d-11cf-a8fd-00805f5c442b").bytes_le: "video",
}

_OBJECT_HEADER_BYTES = 24
_HEADER_BYTES = 30
"""Of the header object, before the objects in it."""
_EXTENSION_HEADER_BYTES = 46
_DATA_HEADER_BYTES = 26
"""Of the data object, behind its GUID and size, before its packets."""
_INDEX = uuid.UUID("33000890-e5b1-11cf-89f4-00a0c90349cb").bytes_le
_MAX_INDEX_BYTES = 1024 * 1024
"""How much of the end of a live recording may be an index."""
_STREAM_END, _STREAM_END_BYTES = b"$E", 12
"""What a server sends after the last packet: [MS-WMSP], section 2.2.3."""
_MAX_OBJECTS = 10_000
_MAX_STREAMS = 200
"""Stream properties that are looked at; a file can number 127 streams."""


def stream_kinds(view: memoryview) -> set[str]:
    """Return "audio" and "video" for the streams that the header describes."""
    header = bytes(view[: _number(view, 16, 8)])
    kinds, position = set(), -1
    # Also in extended stream properties, which may contain the object.
    for _ in range(_MAX_STREAMS):
        position = header.find(_STREAM_PROPERTIES, position + 1)
        if position < 0:
            break
        start = position + _OBJECT_HEADER_BYTES
        kinds.add(_STREAM_KINDS.get(header[start : start + 16], ""))
    return kinds - {""}


def declared_bytes(view: memoryview) -> int:
    """Return where the objects at the top level end.

    The data object of a live recording declares no size: then its last packet, complete. An index may follow it.
    """
    declared = 0
    for guid, start, end in _objects(view, 0, len(view)):
        if guid == _DATA and end <= start + _DATA_HEADER_BYTES:
            packets = start + _DATA_HEADER_BYTES
            tail = bytes(view[max(packets, len(view) - _MAX_INDEX_BYTES) :])
            index = tail.rfind(_INDEX)
            num_bytes = len(view) - packets - (len(tail) - index if index >= 0 else 0)
            if index < 0 and tail[-_STREAM_END_BYTES:].startswith(_STREAM_END):
                num_bytes -= _STREAM_END_BYTES
            packet_bytes = _file_property(view, 68, 4) or 1
            return packets + -(-max(0, num_bytes) // packet_bytes) * packet_bytes
        declared = max(declared, end)
    return declared


def declared_s(view: memoryview) -> float | None:
    """Return the duration that the header declares, or None."""
    # In units of 100 ns, with the time by which players may wait before they begin, in ms.
    duration_s = _file_property(view, 40, 8) / 1e7 - _file_property(view, 56, 8) / 1e3
    return duration_s if duration_s > 0 else None


def _file_property(view: memoryview, at: int, num_bytes: int) -> int:
    """Return a number from the file properties; 0 if there are none."""
    for guid, start, _ in _objects(view, _HEADER_BYTES, min(_number(view, 16, 8), len(view))):
        if guid == _FILE_PROPERTIES:
            return _number(view, start + at, num_bytes)
    return 0


def num_tags(view: memoryview) -> int:
    """Return how many tags and markers the header claims, or a part of them that nobody's file has."""
    header_end = min(_number(view, 16, 8), len(view))
    count = 0
    for guid, start, end in _objects(view, _HEADER_BYTES, header_end):
        count += 1
        if guid == _HEADER_EXTENSION:
            inner = start - _OBJECT_HEADER_BYTES + _EXTENSION_HEADER_BYTES
            for inner_guid, inner_start, _ in _objects(view, inner, min(end, header_end)):
                count += 1 + _num_entries(view, inner_guid, inner_start)
        else:
            count += _num_entries(view, guid, start)
    return count


def _num_entries(view: memoryview, guid: bytes, start: int) -> int:
    if guid in _TAG_LISTS:
        return _number(view, start, 2)
    return _number(view, start + 16, 4) if guid == _MARKERS else 0


def _objects(view: memoryview, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (GUID, start, end) of the content of consecutive objects."""
    for _ in range(_MAX_OBJECTS):
        if position + _OBJECT_HEADER_BYTES > end:
            return
        size = _number(view, position + 16, 8)
        yield bytes(view[position : position + 16]), position + _OBJECT_HEADER_BYTES, position + size
        if size < _OBJECT_HEADER_BYTES:
            return
        position += size


def _number(view: memoryview, start: int, num_bytes: int) -> int:
    return int.from_bytes(view[start : start + num_bytes], "little")
