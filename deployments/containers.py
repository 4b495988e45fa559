"""Reads the structure of media containers: the headers that identify them, and the size or duration that they declare.

These show whether a file is truncated. libav does not report that: in most containers it takes the end of the data for
the end of the file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deployments import asf, flv, mpeg_ps, mpeg_ts

Content = bytes | bytearray | memoryview

Header = tuple[int, int, int]
"""(name, start, end) of one chunk, box, element or page: four characters or an id as a big-endian number, and the
positions at which its content starts and ends."""

_MAX_HEADERS = 1_000_000
"""Headers read per file: two hours of live WebM have 600 000, a malicious file could have 50 million."""


def _headers(
    view: memoryview, read_header: Callable[[memoryview, int], Header | None], position: int = 0
) -> Iterator[Header]:
    """Yield consecutive headers of one nesting level, from `position` on."""
    for _ in range(_MAX_HEADERS):
        header = read_header(view, position) if position < len(view) else None
        if header is None:
            return
        yield header
        _, _, position = header


# RIFF (WAV, AVI): a chunk is a 4-byte name, a 4-byte size and its content, padded to an even length. RF64 (EBU Tech
# 3306) has the real sizes in its first chunk, "ds64".

_MIN_PLACEHOLDER_SIZE = 0x7FFF0000
"""From here on, sizes are placeholders of programs that write before they know the size: 0x7FFFFFFF, 0xFFFFFFFF etc."""


def _riff_declared_bytes(view: memoryview) -> int:
    is_wav = bytes(view[8:12]) == b"WAVE"
    # The RIFF size of a WAV is often wrong, so the size of its "data" chunk is used. An AVI over 1 GB has several RIFF
    # chunks, of which the last one is used.
    sized_chunk = b"data" if is_wav else b"RIFF"
    declared = 0
    for name, start, end in _headers(view, read_chunk_header, 12 if is_wav else 0):
        if name == int.from_bytes(sized_chunk, "big"):
            size = end - start
            if bytes(view[:4]) == b"RF64" and bytes(view[12:16]) == b"ds64":
                size = int.from_bytes(view[28:36], "little")
            declared = start + size if size < _MIN_PLACEHOLDER_SIZE else 0
    return declared


def read_chunk_header(view: memoryview, position: int) -> Header | None:
    position += position % 2
    if position + 8 > len(view):
        return None
    size = int.from_bytes(view[position + 4 : position + 8], "little")
    return int.from_bytes(view[position : position + 4], "big"), position + 8, position + 8 + size


def _iff_declared_bytes(view: memoryview) -> int:
    """Return the size of an AIFF: like RIFF, with big-endian sizes (Audio Interchange File Format, version 1.3)."""
    size = int.from_bytes(view[4:8], "big")
    return 8 + size if size < _MIN_PLACEHOLDER_SIZE else 0


def avi_declared_s(content: Content) -> float | None:
    """Return the duration that an AVI declares for its video, or None.

    It is in the "avih" chunk: dwMicroSecPerFrame and dwTotalFrames of the structure AVIMAINHEADER.
    """
    view = memoryview(content)
    if bytes(view[24:28]) != b"avih":
        return None
    microseconds_per_frame, num_frames = (int.from_bytes(view[at : at + 4], "little") for at in (32, 48))
    return microseconds_per_frame * num_frames / 1e6


# ISO base media (MP4, MOV, M4A): ISO/IEC 14496-12. A box is a 4-byte size, a 4-byte type and its content. Size 1 means
# that an 8-byte size follows the type, size 0 that the box extends to the end of the file.

_ISO_MEDIA_BOXES = {int.from_bytes(name, "big") for name in (b"moov", b"moof", b"mdat")}


def read_box_header(view: memoryview, position: int) -> Header | None:
    size, start = int.from_bytes(view[position : position + 4], "big"), position + 8
    if size == 1:
        size, start = int.from_bytes(view[position + 8 : position + 16], "big"), position + 16
    elif size == 0:
        size = len(view) - position
    if position + size < start:
        return None
    return int.from_bytes(view[position + 4 : position + 8], "big"), start, position + size


def _iso_declared_bytes(view: memoryview) -> int:
    return max((end for name, _, end in _headers(view, read_box_header) if name in _ISO_MEDIA_BOXES), default=0)


# Matroska and WebM: RFC 8794 and RFC 9559. An element is an id, a size (all ones if unknown) and its content.

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675


def read_element_header(view: memoryview, position: int) -> Header | None:
    id_bytes = _variable_length(view, position)
    size_bytes = _variable_length(view, position + id_bytes)
    if not id_bytes or not size_bytes:
        return None
    start = position + id_bytes + size_bytes
    size_mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(view[position + id_bytes : start], "big") & size_mask
    end = len(view) if size == size_mask else start + size
    return int.from_bytes(view[position : position + id_bytes], "big"), start, end


def _variable_length(view: memoryview, position: int) -> int:
    """Return the length in bytes of the variable-length integer at `position`; 0 if there is none.

    It is one more than the number of leading zero bits.
    """
    if position >= len(view) or not view[position]:
        return 0
    return 9 - view[position].bit_length()


def _matroska_declared_bytes(view: memoryview) -> int:
    def read_flat(view: memoryview, position: int) -> Header | None:
        """Return what `read_element_header` does, but let segments and clusters of unknown size end where they start.

        So the header after theirs is that of the first element inside them.
        """
        header = read_element_header(view, position)
        if header is None:
            return None
        name, start, end = header
        return (name, start, start) if name in (_SEGMENT, _CLUSTER) and end == len(view) else header

    return max((end for _, _, end in _headers(view, read_flat)), default=0)


# Ogg: RFC 3533. A page is a 27-byte header that starts with "OggS" and ends with the number of segments, then one byte
# for the length of each segment, then the segments.

_MAX_PAGE_BYTES = 27 + 255 + 255 * 255


def read_page_header(view: memoryview, position: int) -> Header | None:
    """Return the header of a page. Its name is the page's flags: 2 marks the first page of a stream, 4 the last."""
    if bytes(view[position : position + 4]) != b"OggS" or position + 27 > len(view):
        return None
    start = position + 27 + view[position + 26]
    return view[position + 5], start, start + sum(view[position + 27 : start])


def _ogg_declared_bytes(view: memoryview) -> int:
    # Ogg declares no total size, but in a truncated file the last page, or even its header, is incomplete.
    tail = bytes(view[-_MAX_PAGE_BYTES:])
    last = len(view) - len(tail) + tail.rfind(b"OggS")
    header = read_page_header(view, last)
    return len(view) + 1 if header is None else header[2]


# FLAC in Ogg: RFC 9639, section 10.1. The first page of the stream holds "\x7fFLAC" and, at byte 9, a native header.
# The position of a page is the number of samples before its end.


@dataclass(frozen=True)
class LateStart:
    """Sound that begins late, in samples."""

    start: int
    """Time of the first sample."""
    page_samples: int
    """Number of samples in the first page of sound."""


def ogg_flac_start(content: Content) -> LateStart | None:
    """Return when the sound of an Ogg FLAC begins, or None if it does at 0, or the file is of another type.

    libav times the first page of sound from 0, whatever its position is, and only the pages after it by theirs.
    """
    view = memoryview(content)
    header = read_page_header(view, 0)
    if header is None or bytes(view[header[1] : header[1] + 5]) != b"\x7fFLAC":
        return None
    serial = bytes(view[14:18])
    for position in _page_positions(view):
        page = read_page_header(view, position)
        assert page is not None
        packets = _packets_of_page(view, position, page[1])
        if bytes(view[position + 14 : position + 18]) != serial or not packets or bytes(packets[0][:1]) != b"\xff":
            continue
        num_samples = sum(_flac_frame_samples(packet) for packet in packets)
        end = int.from_bytes(view[position + 6 : position + 14], "little", signed=True)
        return LateStart(end - num_samples, num_samples) if end > num_samples > 0 else None
    return None


_MAX_OGG_HEADER_PAGES = 1000
"""Pages before the sound: covers may take hundreds."""


def _page_positions(view: memoryview) -> Iterator[int]:
    position = 0
    for _ in range(_MAX_OGG_HEADER_PAGES):
        header = read_page_header(view, position)
        if header is None:
            return
        yield position
        _, _, position = header


def _packets_of_page(view: memoryview, position: int, start: int) -> list[memoryview]:
    """Return the packets that end in a page: a segment of less than 255 bytes ends a packet."""
    packets, packet_start = [], start
    for size in view[position + 27 : position + 27 + view[position + 26]]:
        start += size
        if size < 255:
            packets.append(view[packet_start:start])
            packet_start = start
    return packets


def _flac_frame_samples(frame: memoryview) -> int:
    """Return the number of samples of a frame, by its header (RFC 9639, section 9.1); 0 if it is not one."""
    if len(frame) < 6 or frame[0] != 0xFF or frame[1] & 0xFC != 0xF8:
        return 0
    code = frame[2] >> 4
    if code == 1:
        return 192
    if 2 <= code <= 5:
        return 576 << (code - 2)
    if code >= 8:
        return 256 << (code - 8)
    # The size follows the number of the frame, which is coded like a character in UTF-8.
    after = 4 + max(1, 8 - (frame[4] ^ 0xFF).bit_length())
    return int.from_bytes(frame[after : after + code - 5], "big") + 1 if code else 0


# MPEG audio layer III: ISO/IEC 11172-3 section 2.4.1.3 and, for the lower sample rates, ISO/IEC 13818-3 (MPEG-2) and
# its unofficial extension MPEG-2.5.

_MPEG_1, _MPEG_2, _MPEG_2_5 = 3, 2, 0
"""The version bits of a frame header."""
_LAYER_3 = 1
"""The layer bits."""
_MPEG_1_BIT_RATES_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_2_BIT_RATES_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Of MPEG-2.5 too."""
_MP3_SAMPLE_RATES = {
    _MPEG_1: (44100, 48000, 32000),
    _MPEG_2: (22050, 24000, 16000),
    _MPEG_2_5: (11025, 12000, 8000),
}
_MAX_ID3_TAGS = 4


def mp3_frame_bytes(header: bytes) -> int | None:
    """Return the size of the MP3 frame with this 4-byte header, or None if it is not the header of an MP3 frame."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate_index, sample_rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _MP3_SAMPLE_RATES or layer != _LAYER_3 or bit_rate_index in (0, 15) or sample_rate_index == 3:
        return None
    bit_rates_kbps = _MPEG_1_BIT_RATES_KBPS if version == _MPEG_1 else _MPEG_2_BIT_RATES_KBPS
    bit_rate = bit_rates_kbps[bit_rate_index - 1] * 1000
    return _samples_per_frame(version) // 8 * bit_rate // _MP3_SAMPLE_RATES[version][sample_rate_index] + padding


def _samples_per_frame(version: int) -> int:
    return 1152 if version == _MPEG_1 else 576


def mp3_declared_s(content: Content) -> float | None:
    """Return the duration in the Xing, Info or VBRI header of an MP3's first frame, or None without such a header.

    libav reads this header too. But without one it silently estimates the duration from the bit rate, which is far off
    if the bit rate varies.
    """
    view = memoryview(content)
    start = id3_end(view)
    frame = bytes(view[start : start + 64])
    if mp3_frame_bytes(frame) is None:
        return None
    version, is_mono = frame[1] >> 3 & 3, frame[3] >> 6 == 3
    # Both headers take the place of audio data: Xing and Info after the side information, VBRI always at byte 36.
    side_info_bytes = (17 if is_mono else 32) if version == _MPEG_1 else (9 if is_mono else 17)
    xing, vbri = frame[4 + side_info_bytes :], frame[36:]
    has_num_frames = len(xing) >= 12 and xing[7] & 1
    if xing[:4] in (b"Xing", b"Info") and has_num_frames:
        num_frames = int.from_bytes(xing[8:12], "big")
    elif vbri[:4] == b"VBRI" and len(vbri) >= 18:
        num_frames = int.from_bytes(vbri[14:18], "big")
    else:
        return None
    return num_frames * _samples_per_frame(version) / _MP3_SAMPLE_RATES[version][frame[2] >> 2 & 3]


# AAC in ADTS: ISO/IEC 13818-7, section 6.2. A header of 7 bytes, or 9 with a checksum, holds the size of the frame.

_ADTS_SAMPLE_RATES = 13
"""The number of sample rates that its index may name."""


def adts_frame_bytes(header: bytes) -> int | None:
    """Return the size of the AAC frame with this header of 7 bytes or more, or None if it is not the header of one."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    sample_rate_index = header[2] >> 2 & 0xF
    size = int.from_bytes(header[3:6], "big") >> 5 & 0x1FFF
    return size if sample_rate_index < _ADTS_SAMPLE_RATES and size >= 7 else None


_ID3_FOOTER = 0x10
"""The flag of an ID3 tag that is followed by a ten-byte footer."""


def id3_end(view: memoryview) -> int:
    """Return the position after the ID3v2 tags at the start of a file; 0 if there are none."""
    start = 0
    for _ in range(_MAX_ID3_TAGS):
        if bytes(view[start : start + 3]) != b"ID3" or start + 10 > len(view):
            break
        size = view[start + 6 : start + 10]
        # Each byte of the size has only seven bits.
        if max(size) > 0x7F:
            break
        content = sum(byte << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
        start += (20 if view[start + 5] & _ID3_FOOTER else 10) + content
    return start


_READERS = {
    b"RIFF": _riff_declared_bytes,
    b"RF64": _riff_declared_bytes,
    b"\x1a\x45\xdf\xa3": _matroska_declared_bytes,
    b"OggS": _ogg_declared_bytes,
    b"FORM": _iff_declared_bytes,
    asf.MAGIC[:4]: asf.declared_bytes,
    flv.MAGIC: flv.declared_bytes,
    mpeg_ps.MAGIC: mpeg_ps.declared_bytes,
}
"""Functions that return the declared size, by the first four bytes of a file."""


def declared_bytes(content: Content) -> int:
    """Return the size that a media file should have according to its own headers. A smaller file is truncated.

    0 if no size is declared: for raw streams (MP3, FLAC, AAC, AMR), for recordings whose writer did not know their
    length, and for files that are not media.
    """
    view = memoryview(content)
    if mpeg_ts.is_transport_stream(view):
        return mpeg_ts.declared_bytes(view)
    return _READERS.get(bytes(view[:4]), _iso_declared_bytes)(view)
