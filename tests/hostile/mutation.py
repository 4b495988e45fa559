"""Damages a file at random, as transfers, disks and attackers do."""

import re
from collections.abc import Callable, Sequence

from numpy.random import Generator

_NAME = re.compile(rb"[A-Za-z0-9 ]{4}")
"""What chunks and boxes are called, in most formats."""
_EXTREME_VALUES = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF)
_EXTREME_LARGE_VALUES = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 1 << 62, 1 << 63, (1 << 64) - 1)
_MAX_EDITS = 8


def mutate(content: bytes, others: Sequence[bytes], generator: Generator) -> bytes:
    """Return `content` with one to three kinds of damage; `others` are files of which parts are spliced in."""
    damaged = bytearray(content)
    for _ in range(int(generator.integers(1, 4))):
        edit = _EDITS[int(generator.integers(len(_EDITS)))]
        edit(damaged, others[int(generator.integers(len(others)))], generator)
    return bytes(damaged)


def _flip_bits(damaged: bytearray, other: bytes, generator: Generator) -> None:
    for _ in range(int(generator.integers(1, _MAX_EDITS + 1))):
        if damaged:
            damaged[_position(damaged, generator)] ^= 1 << int(generator.integers(8))


def _set_bytes(damaged: bytearray, other: bytes, generator: Generator) -> None:
    for _ in range(int(generator.integers(1, _MAX_EDITS + 1))):
        if damaged:
            damaged[_position(damaged, generator)] = int(generator.integers(256))


def _truncate(damaged: bytearray, other: bytes, generator: Generator) -> None:
    del damaged[_position(damaged, generator) :]


def _set_length(damaged: bytearray, other: bytes, generator: Generator) -> None:
    """Set a number beside the name of a chunk or box, where its length is, or a few fields after it."""
    names = [match.start() for match in _NAME.finditer(bytes(damaged[:65536]))]
    if names:
        start = names[int(generator.integers(len(names)))]
        _put_extreme(damaged, start + int(generator.choice([-4, 4, 8, 12, 16, 20, 24])), generator)


def _set_number(damaged: bytearray, other: bytes, generator: Generator) -> None:
    _put_extreme(damaged, _position(damaged, generator), generator)


def _splice(damaged: bytearray, other: bytes, generator: Generator) -> None:
    """Replace a part by one of another file, or of this one."""
    source = other if generator.integers(2) else bytes(damaged)
    start, end = sorted(int(position) for position in generator.integers(0, len(damaged) + 1, 2))
    first, last = sorted(int(position) for position in generator.integers(0, len(source) + 1, 2))
    damaged[start : min(end, start + 4096)] = source[first : min(last, first + 4096)]


def _repeat(damaged: bytearray, other: bytes, generator: Generator) -> None:
    start, end = sorted(int(position) for position in generator.integers(0, len(damaged) + 1, 2))
    part = bytes(damaged[start : min(end, start + 256)])
    damaged[start:start] = part * int(generator.integers(1, 200))


def _delete(damaged: bytearray, other: bytes, generator: Generator) -> None:
    start = _position(damaged, generator)
    del damaged[start : start + int(generator.integers(1, 64))]


_EDITS: Sequence[Callable[[bytearray, bytes, Generator], None]] = (
    _flip_bits,
    _set_bytes,
    _truncate,
    _set_length,
    _set_length,
    _set_number,
    _splice,
    _repeat,
    _delete,
)


def _put_extreme(damaged: bytearray, start: int, generator: Generator) -> None:
    size = int(generator.choice([1, 2, 4, 4, 4, 8]))
    if not 0 <= start <= len(damaged) - size:
        return
    values = _EXTREME_VALUES + _EXTREME_LARGE_VALUES
    value = values[int(generator.integers(len(values)))] & ((1 << 8 * size) - 1)
    damaged[start : start + size] = value.to_bytes(size, "big" if generator.integers(2) else "little")


def _position(damaged: bytearray, generator: Generator) -> int:
    """Return a random position; in three of four cases near the start, where the headers are."""
    size = max(1, len(damaged))
    return int(generator.integers(size if generator.integers(4) == 0 else min(size, 600)))
