"""Reads the structure of MPEG transport streams: ISO/IEC 13818-1, section 2.4.

A stream consists of packets of 188 bytes, which begin with 0x47 and a number (PID) that tells what they belong to.
Packets of PID 0 name the programs' tables, and those name the streams.
"""

from collections.abc import Iterator

_LAYOUTS = ((0, 188), (4, 192), (0, 204))
"""Where a file's first packet begins and how long packets are: plain, on Blu-ray and from cameras (M2TS), and with
error correction."""
_MIN_PACKETS, _CHECKED_PACKETS = 3, 8
"""How many packets a file must have, and how many of those that it has must be in their places."""
_MAX_PACKETS = 20_000
"""Packets that are looked at for the tables; those are repeated several times a second."""

_PROGRAMS_PID = 0
_PROGRAM_TABLE = b"\x02"
"""The first byte of the table that names a program's streams."""
_AUDIO_TYPES = {0x03, 0x04, 0x0F, 0x11, 0x1C, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0xA1}
"""MPEG-1 and 2, AAC, LATM, and those of Blu-ray and ATSC: LPCM, AC-3, DTS, TrueHD, E-AC-3."""
_DATA_TYPES = {0x05, 0x0B, 0x0C, 0x0D, 0x15, 0x90, 0x91, 0x92}
"""Tables, data, times for titles, and subtitles."""
_PRIVATE_TYPE = 0x06
_AUDIO_DESCRIPTORS = {0x6A, 0x7A, 0x7B, 0x7C}
"""AC-3, E-AC-3, DTS and AAC in DVB: ETSI EN 300 468, table 12."""
_REGISTRATION = 0x05
_AUDIO_REGISTRATIONS = {b"AC-3", b"EAC3", b"Opus", b"DTS1", b"DTS2", b"DTS3"}
_DATA_DESCRIPTORS = {0x45, 0x46, 0x56, 0x59}
"""Teletext and subtitles in DVB."""


def is_transport_stream(view: memoryview) -> bool:
    return _layout(view) is not None


def declared_bytes(view: memoryview) -> int:
    """Return the size with the last packet complete."""
    layout = _layout(view)
    return -(-len(view) // layout[1]) * layout[1] if layout else 0


def stream_kinds(view: memoryview) -> set[str]:
    """Return "audio" and "video" for the streams that the first tables name.

    A stream of an unknown type counts as a video: it may be one.
    """
    programs: set[int] = set()
    kinds: set[str] = set()
    for pid, section in _sections(view):
        if pid == _PROGRAMS_PID:
            programs |= set(_table_pids(section))
        elif pid in programs and section[:1] == _PROGRAM_TABLE:
            kinds |= set(_kinds_of_program(section))
            programs.discard(pid)
            if not programs:
                break
    return kinds


def _layout(view: memoryview) -> tuple[int, int] | None:
    for start, length in _LAYOUTS:
        starts = bytes(view[start : start + _CHECKED_PACKETS * length : length])
        if len(starts) >= _MIN_PACKETS and starts == b"\x47" * len(starts):
            return start, length
    return None


def _sections(view: memoryview) -> Iterator[tuple[int, bytes]]:
    """Yield (PID, section) for each packet in which one begins; what continues in other packets is missing."""
    layout = _layout(view)
    if layout is None:
        return
    start, length = layout
    for position in range(start, min(len(view), start + _MAX_PACKETS * length), length):
        packet = bytes(view[position : position + 188])
        if len(packet) < 188 or packet[0] != 0x47 or not packet[1] & 0x40:
            continue
        payload = packet[4:] if not packet[3] & 0x20 else packet[5 + packet[4] :]
        # The first byte is the number of bytes before the section.
        if payload:
            yield int.from_bytes(packet[1:3], "big") & 0x1FFF, payload[1 + payload[0] :]


def _body(section: bytes) -> bytes:
    """Return a section's content, behind its header of 8 bytes and without its checksum of 4."""
    return section[8 : max(0, 3 + (int.from_bytes(section[1:3], "big") & 0x0FFF) - 4)]


def _table_pids(section: bytes) -> Iterator[int]:
    body = _body(section)
    for at in range(0, len(body) - 3, 4):
        if int.from_bytes(body[at : at + 2], "big"):  # 0 is the network's own table
            yield int.from_bytes(body[at + 2 : at + 4], "big") & 0x1FFF


def _kinds_of_program(section: bytes) -> Iterator[str]:
    body = _body(section)
    position = 4 + (int.from_bytes(body[2:4], "big") & 0x0FFF)
    while position + 5 <= len(body):
        stream_type = body[position]
        end = position + 5 + (int.from_bytes(body[position + 3 : position + 5], "big") & 0x0FFF)
        descriptors = list(_descriptors(body[position + 5 : end]))
        position = end
        if stream_type in _AUDIO_TYPES or (stream_type == _PRIVATE_TYPE and any(map(_is_audio, descriptors))):
            yield "audio"
        elif stream_type not in _DATA_TYPES and not any(tag in _DATA_DESCRIPTORS for tag, _ in descriptors):
            yield "video"


def _is_audio(descriptor: tuple[int, bytes]) -> bool:
    tag, content = descriptor
    return tag in _AUDIO_DESCRIPTORS or (tag == _REGISTRATION and content[:4] in _AUDIO_REGISTRATIONS)


def _descriptors(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, content) of each."""
    position = 0
    while position + 2 <= len(content):
        end = position + 2 + content[position + 1]
        yield content[position], content[position + 2 : end]
        position = end
