"""Recognizes packets of VP8 and VP9 that show nothing: alternate reference frames, to which other frames refer."""

_SUPERFRAME_MARKER = 0b110
"""The upper bits of the first and last byte of a superframe's index."""


def shows_frame(codec: str, packet: memoryview) -> bool:
    """Return whether a packet, which is not empty, shows a frame; every packet of another codec does."""
    if codec == "vp8":
        return bool(packet[0] & 0x10)  # show_frame: RFC 6386, section 9.1.
    if codec == "vp9":
        return any(_is_shown_vp9_frame(frame[0]) for frame in _vp9_frames(packet) if len(frame))
    return True


def _is_shown_vp9_frame(header: int) -> bool:
    """Read the first byte of `uncompressed_header` (VP9 bitstream specification, section 6.2).

    From the highest bit on: the frame marker (2 bits), the profile (2 bits, and one more in profile 3),
    show_existing_frame, frame_type, show_frame.
    """
    shift = 1 if header >> 4 & 0b11 == 0b11 else 0
    shows_existing_frame = header >> (3 - shift) & 1
    return bool(shows_existing_frame or header >> (1 - shift) & 1)


def _vp9_frames(packet: memoryview) -> list[memoryview]:
    """Return the frames of a packet: more than one if it is a superframe (annex B of the specification)."""
    marker = packet[-1]
    if marker >> 5 != _SUPERFRAME_MARKER:
        return [packet]
    num_frames, size_bytes = (marker & 0b111) + 1, (marker >> 3 & 0b11) + 1
    index_start = len(packet) - 2 - num_frames * size_bytes
    if index_start < 0 or packet[index_start] != marker:
        return [packet]
    frames, start = [], 0
    for number in range(num_frames):
        at = index_start + 1 + number * size_bytes
        end = min(start + int.from_bytes(packet[at : at + size_bytes], "little"), index_start)
        frames.append(packet[start:end])
        start = end
    return frames
