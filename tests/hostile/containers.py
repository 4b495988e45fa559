"""Builds media containers by hand, with headers that no library would write."""

import struct
from collections.abc import Callable, Iterable


def box(name: str, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", len(content) + 8) + name.encode("latin1") + content


def movie(*tracks: bytes) -> bytes:
    return box("ftyp", b"isom", bytes(4)) + box("moov", *tracks) + box("mdat", bytes(64))


def track(num_samples: int, handler: bytes = b"vide", times: bytes = b"", chunks: bytes = b"") -> bytes:
    sizes = box("stsz", bytes(4), struct.pack(">II", 1, num_samples))
    return box(
        "trak",
        box("mdia", box("hdlr", bytes(8), handler), box("minf", box("stbl", sizes, times, chunks))),
    )


def one_value_each(num_samples: int) -> bytes:
    """Return the table of times of uncompressed sound."""
    return box("stts", bytes(4), struct.pack(">III", 1, num_samples, 1))


def chunks(num_chunks: int, samples_per_chunk: int) -> bytes:
    return box("stsc", bytes(4), struct.pack(">IIII", 1, 1, samples_per_chunk, 1)) + box(
        "stco", bytes(4), struct.pack(">I", num_chunks), bytes(4 * min(num_chunks, 1000))
    )


def fragment(num_samples: int) -> bytes:
    return box("moof", box("traf", box("trun", bytes(4), struct.pack(">I", num_samples))))


def element(name: int, content: bytes) -> bytes:
    size = (1 << 56) | len(content)
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size.to_bytes(8, "big") + content


def matroska(*parts: bytes) -> bytes:
    cluster = element(0x1F43B675, bytes(100))
    return element(0x1A45DFA3, b"\x42\x82\x88matroska") + element(0x18538067, cluster + b"".join(parts))


def matroska_tag(number: int) -> bytes:
    return element(0x7373, element(0x67C8, element(0x45A3, b"%d" % number)))


def comments(count: int) -> bytes:
    vendor = b"test"
    each = b"".join(struct.pack("<I", 6) + b"K%04x=" % (number % 65536) for number in range(count))
    return struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", count) + each


def flac(count: int) -> bytes:
    block = comments(count)
    return b"fLaC\x00\x00\x00\x22" + bytes(34) + b"\x84" + len(block).to_bytes(3, "big") + block


def ogg(packet: bytes) -> bytes:
    def page(content: bytes, flags: int) -> bytes:
        return b"OggS\x00" + bytes([flags]) + bytes(20) + bytes([1, min(len(content), 255)]) + content[:255]

    return page(b"\x01vorbis" + bytes(23), 2) + page(packet, 0) + page(bytes(200), 0)


def id3(count: int, version: int) -> bytes:
    frame = b"TXX\x00\x00\x04\x00a\x00b" if version == 2 else b"TXXX\x00\x00\x00\x04\x00\x00\x00a\x00b"
    frames = frame * count
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + frames + b"\xff\xfb\x90\x64" + bytes(413)


def riff(form: bytes, count: int) -> bytes:
    tags = b"".join(struct.pack("<4sI", b"I%03x" % (number % 4096), 2) + b"x\x00" for number in range(count))
    info = b"LIST" + struct.pack("<I", len(tags) + 4) + b"INFO" + tags
    return b"RIFF" + struct.pack("<I", len(info) + 4) + form + info


def edit_box(content: bytes, path: str, edit: Callable[[bytes], bytes]) -> bytes:
    """Return MP4 boxes; `edit` changes the content of the first one with the nested names `path` ("moov/trak").

    Sizes are corrected, offsets are not: the samples must be before the header.
    """
    name, _, rest = path.partition("/")
    position, parts, is_done = 0, [], False
    while position + 8 <= len(content):
        size = int.from_bytes(content[position : position + 4], "big")
        kind, inner = content[position + 4 : position + 8].decode("latin1"), content[position + 8 : position + size]
        if kind == name and not is_done:
            inner, is_done = edit_box(inner, rest, edit) if rest else edit(inner), True
        parts.append(box(kind, inner))
        position += size
    if not is_done:
        raise ValueError(f"there is no box {name}")
    return b"".join(parts)


def set_field(path: str, at: int, value: bytes) -> Callable[[bytes], bytes]:
    """Return a function that sets bytes of a box of an MP4."""

    def change(content: bytes) -> bytes:
        return edit_box(content, path, lambda inner: inner[:at] + value + inner[at + len(value) :])

    return change


def number(value: int, num_bytes: int = 0) -> bytes:
    """Return a number as Matroska stores it, big-endian."""
    return value.to_bytes(num_bytes or max(1, (value.bit_length() + 7) // 8), "big")


def mkv(
    blocks: Iterable[tuple[int, bytes]],
    *,
    codec: bytes = b"V_MJPEG",
    width: int = 64,
    height: int = 48,
    track: bytes = b"",
    info: bytes = b"",
    flags: int = 0x80,
) -> bytes:
    """Return a Matroska file with one track; each block is in a cluster of its own.

    A block is its time in ticks (milliseconds, if `info` does not change that) and its content. `track` and `info` are
    further elements of the track's entry and of the segment's information.
    """
    settings = element(0xE0, element(0xB0, number(width)) + element(0xBA, number(height)))
    entry = b"".join(
        [
            element(0xD7, b"\x01"),
            element(0x73C5, b"\x01"),
            element(0x83, b"\x01" if codec.startswith(b"V") else b"\x02"),
            element(0x86, codec),
            settings if codec.startswith(b"V") else b"",
            track,
        ]
    )
    clusters = (
        element(0x1F43B675, element(0xE7, number(time, 8)) + element(0xA3, b"\x81\x00\x00" + bytes([flags]) + content))
        for time, content in blocks
    )
    return element(0x1A45DFA3, element(0x4282, b"matroska")) + element(
        0x18538067,
        b"".join([element(0x1549A966, info), element(0x1654AE6B, element(0xAE, entry)), *clusters]),
    )
