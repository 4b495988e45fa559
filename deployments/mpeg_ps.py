"""Reads the structure of MPEG program streams (MPG, VOB): ISO/IEC 13818-1, section 2.5, and for MPEG-1 ISO/IEC 11172-1.

A stream is a sequence of units, each with a start code of 4 bytes, the last of which tells what it is. Packs begin with
a header of its own form; the size of all others follows their start code in 2 bytes.
"""

from collections.abc import Iterator

MAGIC = b"\x00\x00\x01\xba"
"""The start code of a pack."""
_START_CODE = b"\x00\x00\x01"
_PACK, _END, _PRIVATE_1 = 0xBA, 0xB9, 0xBD
_FIRST_WITH_SIZE = 0xBB
_AUDIO, _VIDEO, _EXTENDED = range(0xC0, 0xE0), range(0xE0, 0xF0), 0xFD
_MPEG_1_PACK_BYTES, _MPEG_2_PACK_BYTES = 12, 14
_MAX_UNITS = 300_000
"""Units read per file: 100 MB in packs of 2 kB have 100,000."""
_MAX_UNITS_FOR_KINDS = 2000


def stream_kinds(view: memoryview) -> set[str]:
    """Return "audio" and "video" for what the first units hold."""
    kinds = set()
    for number, (code, _) in enumerate(_units(view)):
        if code in _VIDEO or code == _EXTENDED:
            kinds.add("video")
        elif code in _AUDIO or code == _PRIVATE_1:
            kinds.add("audio")
        if len(kinds) == 2 or number == _MAX_UNITS_FOR_KINDS:
            break
    return kinds


def declared_bytes(view: memoryview) -> int:
    """Return where the last unit ends; it is incomplete in a truncated file."""
    return max((end for _, end in _units(view)), default=0)


def _units(view: memoryview) -> Iterator[tuple[int, int]]:
    """Yield (last byte of the start code, end) of consecutive units."""
    position = 0
    for _ in range(_MAX_UNITS):
        head = bytes(view[position : position + _MPEG_2_PACK_BYTES])
        if len(head) < 4 or head[:3] != _START_CODE:
            return
        code = head[3]
        if code == _PACK:
            # The bits 01 mark MPEG-2, where the last byte has the number of bytes that fill the pack up.
            is_mpeg_2 = head[4:5] != b"" and head[4] >> 6 == 1
            filling = head[13] & 7 if is_mpeg_2 and len(head) == _MPEG_2_PACK_BYTES else 0
            end = position + (_MPEG_2_PACK_BYTES if is_mpeg_2 else _MPEG_1_PACK_BYTES) + filling
        elif code == _END:
            end = position + 4
        elif code >= _FIRST_WITH_SIZE:
            end = position + 6 + int.from_bytes(head[4:6], "big")
        else:
            return
        yield code, end
        position = end
