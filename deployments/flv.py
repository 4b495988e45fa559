"""Reads the structure of FLV files: Adobe Flash Video File Format Specification, version 10.1, annex E.

After a header, whose size is in it, tags follow one another: the size of the tag before in 4 bytes, then a header of
11 bytes with the type and the size of the content, then the content.
"""

from collections.abc import Iterator

MAGIC = b"FLV\x01"
AUDIO, _VIDEO, _SCRIPT = 8, 9, 18
_KNOWN_TYPES = (AUDIO, _VIDEO, _SCRIPT)
_SIZE_BYTES, _HEADER_BYTES = 4, 11
"""Of the size of the tag before, and of a tag's header."""
_TAG_TYPE = 0x1F
"""The bits of a tag's first byte that hold its type."""
_MAX_TAGS_FOR_KINDS = 1000
_MAX_TAGS = 1_000_000
"""Tags read per file: two hours have 600,000."""

Tag = tuple[int, int, int]
"""(type, start, end) of its content."""


def stream_kinds(view: memoryview) -> set[str]:
    """Return "audio" and "video" for what the first tags hold."""
    kinds = set()
    for number, (kind, _, _) in enumerate(tags(view)):
        if kind in (AUDIO, _VIDEO):
            kinds.add("audio" if kind == AUDIO else "video")
        if len(kinds) == 2 or number == _MAX_TAGS_FOR_KINDS:
            break
    return kinds


def declared_bytes(view: memoryview) -> int:
    """Return where the last tag ends; it is incomplete in a truncated file."""
    declared = position = 0
    for kind, _, position in tags(view):
        if kind in _KNOWN_TYPES:
            declared = position
    # What follows may be the beginning of a tag's header.
    rest = view[position + _SIZE_BYTES :]
    is_cut = 0 < len(rest) < _HEADER_BYTES and rest[0] & _TAG_TYPE in _KNOWN_TYPES
    return len(view) + 1 if is_cut else declared


def num_properties(view: memoryview, maximum: int) -> int:
    """Return the number of properties in the file's script data; counting stops above `maximum`."""
    count = 0
    for kind, start, end in tags(view):
        if kind == _SCRIPT:
            for _ in _properties(view[start:end]):
                count += 1
                if count > maximum:
                    return count
    return count


def tags(view: memoryview) -> Iterator[Tag]:
    position = int.from_bytes(view[5:9], "big")
    for _ in range(_MAX_TAGS):
        position += _SIZE_BYTES
        start = position + _HEADER_BYTES
        if start > len(view):
            return
        end = start + int.from_bytes(view[position + 1 : position + 4], "big")
        yield view[position] & _TAG_TYPE, start, end
        position = end


# Script data: Action Message Format, AMF 0. A value is a marker and its content. Objects and arrays with keys are
# sequences of a key (its length in 2 bytes, then its text) and a value, and end with an empty key and the marker 9.

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED, _REFERENCE = 0, 1, 2, 3, 5, 6, 7
_KEYED_ARRAY, _OBJECT_END, _ARRAY, _DATE, _LONG_STRING = 8, 9, 10, 11, 12
_FIXED_BYTES = {_NUMBER: 8, _BOOLEAN: 1, _NULL: 0, _UNDEFINED: 0, _REFERENCE: 2, _DATE: 10}
_LENGTH_BYTES = {_STRING: 2, _LONG_STRING: 4}


def _properties(data: memoryview) -> Iterator[int]:
    """Yield the position of each key, also in objects inside objects, up to the first value of an unknown type."""
    open_values: list[int] = []
    """For each array that is being read, how many values are left; -1 for an object."""
    position = 0
    while position < len(data):
        if open_values and open_values[-1] == 0:
            open_values.pop()
            continue
        if open_values and open_values[-1] > 0:
            open_values[-1] -= 1
        elif open_values:
            key_bytes = int.from_bytes(data[position : position + 2], "big")
            position += 2 + key_bytes
            if not key_bytes and bytes(data[position : position + 1]) == bytes([_OBJECT_END]):
                open_values.pop()
                position += 1
                continue
            yield position
        marker = data[position] if position < len(data) else _OBJECT_END
        position += 1
        if marker in _FIXED_BYTES:
            position += _FIXED_BYTES[marker]
        elif marker in _LENGTH_BYTES:
            num_bytes = _LENGTH_BYTES[marker]
            position += num_bytes + int.from_bytes(data[position : position + num_bytes], "big")
        elif marker in (_OBJECT, _KEYED_ARRAY):
            position += 4 if marker == _KEYED_ARRAY else 0
            open_values.append(-1)
        elif marker == _ARRAY:
            open_values.append(int.from_bytes(data[position : position + 4], "big"))
            position += 4
        else:
            return
