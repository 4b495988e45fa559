"""ASF, FLV, MPEG and AIFF files written by hand, intact enough to be opened."""

import struct
import uuid
from collections.abc import Sequence

from deployments import asf

_TAG_LIST = uuid.UUID("d2d0a440-e307-11d2-97f0-00a0c95ea850").bytes_le
_MARKERS = uuid.UUID("f487cd01-a951-11cf-8ee6-00c00c205365").bytes_le
_DATA = uuid.UUID("75b22636-668e-11cf-a6d9-00aa0062ce6c").bytes_le

FLV_HEADER = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"


def asf_object(guid: bytes, content: bytes, size: int | None = None) -> bytes:
    """Return an object; `size` is what it claims, true or not."""
    return guid + struct.pack("<Q", 24 + len(content) if size is None else size) + content


def asf_file(*objects: bytes, data: bytes = bytes(26)) -> bytes:
    header = struct.pack("<IBB", len(objects), 1, 2) + b"".join(objects)
    return asf_object(asf.MAGIC, header) + asf_object(_DATA, data)


def asf_tags(count: int) -> bytes:
    """Return a list of tags, each of another name."""
    tags = [struct.pack("<H10sHHH", 10, f"{number:05}".encode("utf-16-le"), 0, 2, 0) for number in range(count)]
    return asf_object(_TAG_LIST, struct.pack("<H", count) + b"".join(tags))


def asf_markers(count: int) -> bytes:
    marker = struct.pack("<QQHIII", 0, 0, 12, 0, 0, 0)
    return asf_object(_MARKERS, bytes(16) + struct.pack("<IHH", count, 0, 0) + marker * count)


def flv_tag(kind: int, content: bytes, time_ms: int = 0) -> bytes:
    head = bytes([kind]) + len(content).to_bytes(3, "big") + (time_ms & 0xFFFFFF).to_bytes(3, "big")
    return head + bytes([time_ms >> 24 & 0xFF, 0, 0, 0]) + content + (11 + len(content)).to_bytes(4, "big")


def flv_properties(count: int) -> bytes:
    """Return script data with so many numbers."""
    numbers = b"".join(b"\x00\x06%06x\x00" % number + bytes(8) for number in range(count))
    return b"\x02\x00\x0aonMetaData\x08" + count.to_bytes(4, "big") + numbers + b"\x00\x00\x09"


def ts_packet(pid: int, payload: bytes, *, is_start: bool = True, counter: int = 0) -> bytes:
    head = b"\x47" + (pid | (0x4000 if is_start else 0)).to_bytes(2, "big") + bytes([0x10 | counter & 15])
    return (head + payload).ljust(188, b"\xff")


def ts_table(table: int, number: int, entries: bytes) -> bytes:
    """Return the payload of a packet with a table, and its right checksum."""
    size = 5 + len(entries) + 4
    section = (
        bytes([table]) + (0xB000 | size).to_bytes(2, "big") + number.to_bytes(2, "big") + b"\xc1\x00\x00" + entries
    )
    return b"\x00" + section + _mpeg_checksum(section).to_bytes(4, "big")


def ts_programs(pids: Sequence[int], first: int = 1) -> bytes:
    return ts_packet(
        0, ts_table(0, 1, b"".join(struct.pack(">HH", first + at, 0xE000 | pid) for at, pid in enumerate(pids)))
    )


def ts_program(pid: int, streams: Sequence[tuple[int, int]], descriptors: bytes = b"") -> bytes:
    """Return the table of a program of streams, each a type and a PID."""
    entries = b"".join(
        struct.pack(">BHH", kind, 0xE000 | stream, 0xF000 | len(descriptors)) + descriptors for kind, stream in streams
    )
    return ts_packet(pid, ts_table(2, 1, b"\xe1\x00\xf0\x00" + entries))


def _mpeg_checksum(content: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def aiff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    inner = b"".join(
        name + struct.pack(">I", len(content)) + content + bytes(len(content) % 2) for name, content in chunks
    )
    return b"FORM" + struct.pack(">I", len(inner) + 4 if size is None else size) + b"AIFF" + inner


def aiff_common(
    channels: int = 1, num_frames: int = 16_000, bits: int = 16, rate: bytes = b"\x40\x0c\xfa\x00"
) -> bytes:
    """Return the chunk COMM's content; `rate` is the start of an extended float, 8 kHz by default."""
    return struct.pack(">hIh", channels, num_frames, bits) + rate.ljust(10, b"\x00")
