"""Hostile videos."""

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image

from tests.deployments.transcriber.sounds import encode_video, sweep
from tests.hostile.containers import (
    box,
    edit_box,
    element,
    fragment,
    matroska,
    matroska_tag,
    mkv,
    movie,
    number,
    riff,
    set_field,
    track,
)
from tests.hostile.images import compressed_zeros, patched, png
from tests.hostile.item import CANARY, OK, Collection
from tests.hostile.streams import FLV_HEADER, asf_file, asf_tags, flv_properties, flv_tag, ts_program, ts_programs
from tests.videos import numbered_pictures, plain_picture, write_video

INVALID, TYPE, TIMEOUT = "INVALID_FILE", "INVALID_FILE_TYPE", "TIMEOUT"
VIDEOS = Collection("video", num_frames="2", max_length="3", include_audio="true")


def small_mp4() -> bytes:
    return encode_video(sweep(1.0)).tobytes()


def small_avi() -> bytes:
    return write_video(numbered_pictures(10), container="avi", codec="mpeg4")


def picture(width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    """Return a frame of MJPEG."""
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(content, "JPEG", quality=50)
    return content.getvalue()


def frames(count: int, step_ms: int = 100) -> list[tuple[int, bytes]]:
    return [(step_ms * index, picture(seed=index)) for index in range(count)]


@VIDEOS.item(INVALID)
def mp4_of_120_million_samples() -> bytes:
    """Memory: a table of one size in three tracks (4.6 GB from 1.5 kB)."""
    return movie(*[track(40_000_000)] * 3)


@VIDEOS.item(INVALID)
def mp4_in_fragments_of_millions_of_samples() -> bytes:
    """Memory: runs of samples in fragments."""
    return movie(track(1)) + fragment(2**31 - 1) * 10


@VIDEOS.item(OK, INVALID)
def mp4_of_100_000_empty_fragments() -> bytes:
    """CPU: fragments without samples."""
    whole = write_video(numbered_pictures(10), container_options={"movflags": "frag_keyframe+empty_moov"})
    return whole + fragment(0) * 100_000


@VIDEOS.item(INVALID)
def mp4_of_20_000_tracks() -> bytes:
    """Memory: a stream for each track."""
    return movie(box("trak") * 20_000)


@VIDEOS.item(OK, INVALID)
def mp4_of_1_500_tracks() -> bytes:
    """Memory: as many tracks as pass the bound on boxes, each with pictures."""
    one = box("trak", box("tkhd", bytes(84)), box("mdia", box("hdlr", bytes(8), b"vide")))
    return edit_box(small_mp4(), "moov", lambda inner: inner + one * 1_500)


@VIDEOS.item(INVALID)
def mp4_of_boxes_1000_deep() -> bytes:
    """Recursion: boxes inside one another."""
    inner = b""
    for depth in range(1000):
        inner = box("trak" if depth % 2 else "moov", inner)
    return box("ftyp", b"isom", bytes(4)) + inner


@VIDEOS.item(INVALID)
def mp4_with_a_box_of_size_0_before_its_header() -> bytes:
    """Endless loop: a box that extends to the end of the file hides the rest."""
    whole = small_mp4()
    return whole[:32] + b"\x00\x00\x00\x00free" + whole[32:]


@VIDEOS.item(OK, INVALID)
def mp4_with_a_box_of_2_to_the_64() -> bytes:
    """Integer overflow: a 64-bit size."""
    return small_mp4() + b"\x00\x00\x00\x01free" + b"\xff" * 8


@VIDEOS.item(OK, INVALID)
def mp4_with_a_box_of_a_64_bit_size_of_0() -> bytes:
    """Endless loop: a box that ends before it starts."""
    return small_mp4() + b"\x00\x00\x00\x01free" + bytes(8)


@VIDEOS.item(INVALID)
def mp4_whose_header_is_a_bomb() -> bytes:
    """Memory: a compressed header (cmov) that expands to 400 MB."""
    data = compressed_zeros(400_000_000)
    moved = box("cmov", box("dcom", b"zlib"), box("cmvd", struct.pack(">I", 400_000_000), data))
    return box("ftyp", b"qt  ", bytes(4)) + box("moov", moved) + box("mdat", bytes(64))


@VIDEOS.item(INVALID)
def mp4_whose_compressed_header_claims_40_million_samples() -> bytes:
    """Memory: the table of 40 million samples, hidden in a compressed header (cmov)."""
    header = movie(*[track(40_000_000)] * 3)[20:-72]
    moved = box("cmov", box("dcom", b"zlib"), box("cmvd", struct.pack(">I", len(header)), zlib.compress(header)))
    return box("ftyp", b"qt  ", bytes(4)) + box("moov", moved) + box("mdat", bytes(64))


@VIDEOS.item(OK, INVALID)
def mp4_that_refers_to_other_files() -> bytes:
    """Request forgery: data references to a server and to a file of this machine."""
    references = box("url ", bytes(4), CANARY.encode() + b"/clip\x00") + box(
        "url ", bytes(4), b"file:///etc/passwd\x00"
    )
    return edit_box(
        small_mp4(), "moov/trak/mdia/minf/dinf/dref", lambda _: bytes(4) + struct.pack(">I", 2) + references
    )


TABLE = "moov/trak/mdia/minf/stbl"


@VIDEOS.item(OK, INVALID)
def mp4_with_a_time_scale_of_0() -> bytes:
    """Division by zero: the unit of its clock."""
    return set_field("moov/trak/mdia/mdhd", 12, bytes(4))(small_mp4())


@VIDEOS.item(OK, INVALID)
def mp4_with_a_time_scale_of_4_billion() -> bytes:
    """Clock: a frame lasts less than a microsecond."""
    return set_field("moov/trak/mdia/mdhd", 12, b"\xff\xff\xff\xff")(small_mp4())


@VIDEOS.item(OK, INVALID)
def mp4_whose_frames_last_for_years() -> bytes:
    """Clock: 2^31 ticks for each frame."""
    return set_field(f"{TABLE}/stts", 12, b"\x7f\xff\xff\xff")(small_mp4())


@VIDEOS.item(OK, INVALID)
def mp4_whose_frames_last_no_time() -> bytes:
    """Clock: each frame is shown at the same time."""
    return set_field(f"{TABLE}/stts", 12, bytes(4))(small_mp4())


@VIDEOS.item(OK, INVALID)
def mp4_with_extreme_composition_times() -> bytes:
    """Clock: frames that are shown years before they are decoded."""
    offsets = bytes([1, 0, 0, 0]) + struct.pack(">IIiIi", 2, 5, -(2**31), 5, 2**31 - 1)
    return edit_box(small_mp4(), TABLE, lambda inner: inner + box("ctts", offsets))


@VIDEOS.item(OK, INVALID)
def mp4_with_edits_of_2_to_the_63() -> bytes:
    """Integer overflow: an edit list with extreme values."""
    entries = struct.pack(">QqIQqI", 2**63 - 1, 2**63 - 1, 0x10000, 2**63 - 1, -(2**63), 0x10000)
    edits = bytes([1, 0, 0, 0]) + struct.pack(">I", 2) + entries
    return edit_box(small_mp4(), "moov/trak/edts/elst", lambda _: edits)


@VIDEOS.item(OK, INVALID)
def mp4_that_starts_in_300_years() -> bytes:
    """Clock: an empty edit of 2^62 ticks."""
    entries = struct.pack(">QqIQqI", 2**62, -1, 0x10000, 1000, 0, 0x10000)
    edits = bytes([1, 0, 0, 0]) + struct.pack(">I", 2) + entries
    return edit_box(small_mp4(), "moov/trak/edts/elst", lambda _: edits)


@VIDEOS.item(OK, INVALID)
def mp4_with_a_display_matrix_of_nothing() -> bytes:
    """Arithmetic: a matrix that shows no pixel."""
    return set_field("moov/trak/tkhd", 40, bytes(36))(small_mp4())


@VIDEOS.item(OK, INVALID)
def mp4_with_a_display_matrix_of_extremes() -> bytes:
    """Integer overflow: a matrix of -2^31."""
    return set_field("moov/trak/tkhd", 40, b"\x80\x00\x00\x00" * 9)(small_mp4())


@VIDEOS.item(OK, INVALID)
def mp4_of_65535_by_65535() -> bytes:
    """Memory: the size in the description of the samples."""
    return set_field(f"{TABLE}/stsd", 40, b"\xff\xff\xff\xff")(small_mp4())


@VIDEOS.item(OK, INVALID)
def mp4_of_pixels_two_billion_times_as_wide_as_high() -> bytes:
    """Memory: a picture is stretched to the shape of its pixels."""
    whole = write_video(numbered_pictures(5))
    aspect = box("pasp", struct.pack(">II", 2**31 - 1, 1))

    def add(inner: bytes) -> bytes:
        entry = inner[8:]
        return inner[:8] + struct.pack(">I", len(entry) + len(aspect)) + entry[4:] + aspect

    return edit_box(whole, f"{TABLE}/stsd", add)


@VIDEOS.item(INVALID)
def mp4_that_is_encrypted() -> bytes:
    """Format: samples that nobody can decode."""
    return write_video(numbered_pictures(5)).replace(b"avc1", b"encv").replace(b"avcC", b"free")


@VIDEOS.item(INVALID)
def mp4_of_an_unknown_codec() -> bytes:
    """Format: a codec that nobody knows."""
    return small_mp4().replace(b"mp4v", b"zzzz").replace(b"esds", b"free")


@VIDEOS.item(INVALID)
def mov_of_a_png_bomb() -> bytes:
    """Memory: frames of 60,000 x 60,000 pixels."""
    whole = write_video([plain_picture((1, 2, 3))] * 3, container="mov", codec="png", pix_fmt="rgb24")
    bomb = png(60_000, 60_000, zlib.compress(bytes(1000)))
    return whole.replace(b"\x89PNG\r\n\x1a\n", bomb[:8]).replace(
        struct.pack(">II", 96, 64) + b"\x08\x02", struct.pack(">II", 60_000, 60_000) + b"\x08\x02"
    )


@VIDEOS.item(OK, INVALID, TIMEOUT, is_slow=True)
def mkv_of_png_frames_of_36_megapixels() -> bytes:
    """CPU: 300 frames that each expand from 110 kB to 108 MB."""
    frame = png(6000, 6000, compressed_zeros(6000 * 18_001))
    header = struct.pack("<IiiHH4sIIIII", 40, 6000, 6000, 1, 24, b"MPNG", 0, 0, 0, 0, 0)
    return mkv(
        [(100 * index, frame) for index in range(300)],
        codec=b"V_MS/VFW/FOURCC",
        width=6000,
        height=6000,
        track=element(0x63A2, header),
    )


@VIDEOS.item(INVALID)
def mkv_with_400_000_tags() -> bytes:
    """CPU: libav searches its list of tags for each new one."""
    return matroska(element(0x1254C367, b"".join(matroska_tag(index) for index in range(400_000))))


@VIDEOS.item(INVALID)
def mkv_of_nothing_but_void() -> bytes:
    """CPU: 5 million empty elements."""
    return element(0x1A45DFA3, element(0x4282, b"matroska")) + b"\x18\x53\x80\x67\xff" + b"\xec\x80" * 5_000_000


@VIDEOS.item(OK, INVALID)
def mkv_of_elements_of_unknown_size() -> bytes:
    """Endless loop: sizes that are all ones, at each level."""
    whole = mkv(frames(5))
    return re.sub(rb"(\x1f\x43\xb6\x75\x01).{7}", rb"\1" + b"\xff" * 7, whole, flags=re.DOTALL)


@VIDEOS.item(INVALID)
def mkv_of_tags_1000_deep() -> bytes:
    """Recursion: tags inside one another."""
    inner = b""
    for _ in range(1000):
        inner = element(0x67C8, inner)
    return matroska(element(0x1254C367, element(0x7373, inner)))


@VIDEOS.item(OK, INVALID)
def mkv_whose_lacing_lies() -> bytes:
    """Out-of-bounds read: blocks of 256 laced frames whose sizes are larger than the block."""
    return mkv([(time, b"\xff" + b"\xff" * 300 + content) for time, content in frames(5)], flags=0x80 | 0x02)


@VIDEOS.item(OK, INVALID)
def mkv_whose_ebml_lacing_goes_below_zero() -> bytes:
    """Integer overflow: sizes of laced frames as negative differences."""
    return mkv([(time, b"\x03\x81\x80\x80" + content) for time, content in frames(5)], flags=0x80 | 0x06)


def compressed_with(algorithm: int) -> bytes:
    """Return the element of a track whose blocks are compressed (0: zlib, 1: bzlib, 2: lzo, 3: without their start)."""
    return element(0x6D80, element(0x6240, element(0x5034, element(0x4254, number(algorithm)))))


@VIDEOS.item(OK, INVALID)
def mkv_of_blocks_that_are_bombs() -> bytes:
    """Memory: blocks in zlib that expand to 400 MB."""
    bomb = compressed_zeros(400_000_000)
    return mkv([(index, bomb) for index in range(5)], track=compressed_with(0))


@VIDEOS.item(OK, INVALID)
def mkv_of_blocks_in_damaged_lzo() -> bytes:
    """Out-of-bounds write: LZO, with a memory corruption in its past (CVE-2014-4610)."""
    return mkv([(index, b"\x00" + b"\xff" * 3000) for index in range(5)], track=compressed_with(2))


@VIDEOS.item(OK, INVALID)
def mkv_with_ticks_of_0_nanoseconds() -> bytes:
    """Division by zero: the unit of its clock."""
    return mkv(frames(5), info=element(0x2AD7B1, number(0)))


@VIDEOS.item(OK, INVALID)
def mkv_with_ticks_of_2_to_the_63_nanoseconds() -> bytes:
    """Integer overflow: the unit of its clock."""
    return mkv(frames(5), info=element(0x2AD7B1, number(2**63)))


@VIDEOS.item(OK, INVALID)
def mkv_whose_frames_are_years_apart() -> bytes:
    """Clock: times of 0, 2^40 and 2^60 milliseconds."""
    return mkv([(time, content) for time, (_, content) in zip((0, 2**40, 2**50, 2**60), frames(4), strict=True)])


@VIDEOS.item(OK, INVALID)
def mkv_whose_time_goes_backwards() -> bytes:
    """Clock: each frame is before the last one."""
    return mkv([(time, content) for time, (_, content) in zip((9000, 6000, 3000, 0), frames(4), strict=True)])


@VIDEOS.item(OK, INVALID)
def mkv_whose_frames_are_all_at_once() -> bytes:
    """Clock: each frame at the same time."""
    return mkv([(5, content) for _, content in frames(20)])


@VIDEOS.item(OK, INVALID)
def mkv_of_a_billion_frames_a_second() -> bytes:
    """Clock: a default duration of one nanosecond."""
    return mkv(frames(5), track=element(0x23E383, number(1)))


@VIDEOS.item(OK, INVALID)
def mkv_whose_size_changes_with_each_frame() -> bytes:
    """Memory: frames of 16 x 16 to 3000 x 2000 pixels in one track."""
    sizes = [(16, 16), (3000, 2000), (16, 2000), (64, 48)] * 5
    return mkv([(100 * index, picture(*size)) for index, size in enumerate(sizes)])


@VIDEOS.item(OK, INVALID)
def mkv_of_one_column() -> bytes:
    """Arithmetic: frames of 1 x 16,000 pixels."""
    return mkv([(100 * index, picture(1, 16_000)) for index in range(3)], width=1, height=16_000)


@VIDEOS.item(OK, INVALID)
def mkv_of_one_pixel() -> bytes:
    """Arithmetic: frames of 1 x 1 pixel."""
    return mkv([(100 * index, picture(1, 1)) for index in range(3)], width=1, height=1)


@VIDEOS.item(OK, INVALID, is_slow=True)
def mkv_of_100_000_frames() -> bytes:
    """CPU: an hour of small frames."""
    frame = picture(16, 16)
    return mkv(((33 * index, frame) for index in range(100_000)), width=16, height=16)


@VIDEOS.item(INVALID)
def mkv_without_pictures() -> bytes:
    """Format: a track of which no frame is there."""
    return mkv([])


@VIDEOS.item(INVALID)
def mkv_of_hidden_frames() -> bytes:
    """Format: VP8 of which no frame is shown."""
    return mkv([(100 * index, b"\x00" * 50) for index in range(5)], codec=b"V_VP8")


@VIDEOS.item(TYPE)
def mkv_with_sound_only() -> bytes:
    """Wrong route: a recording of a browser."""
    return mkv([(0, bytes(10))], codec=b"A_OPUS")


@VIDEOS.item(OK, INVALID)
def avi_with_a_rate_of_0() -> bytes:
    """Division by zero: the rate and scale of its stream."""
    whole = small_avi()
    at = whole.index(b"strh") + 8
    return patched(whole, at + 20, bytes(8))


@VIDEOS.item(OK, INVALID)
def avi_with_a_rate_of_4_billion() -> bytes:
    """Clock: four billion frames a second."""
    whole = small_avi()
    at = whole.index(b"strh") + 8
    return patched(whole, at + 20, b"\x01\x00\x00\x00\xff\xff\xff\xff")


@VIDEOS.item(OK, INVALID)
def avi_whose_riff_size_lies() -> bytes:
    """Size: a RIFF chunk of 16 bytes."""
    return patched(small_avi(), 4, struct.pack("<I", 16))


@VIDEOS.item(OK, INVALID)
def avi_whose_index_has_a_million_entries() -> bytes:
    """Memory: an index that refers to the same frame again and again."""
    whole = small_avi()
    at = whole.index(b"idx1")
    entries = whole[at + 8 : at + 24] * 500_000
    return whole[:at] + b"idx1" + struct.pack("<I", len(entries)) + entries


@VIDEOS.item(OK, INVALID)
def avi_whose_index_refers_to_itself() -> bytes:
    """Endless loop: an OpenDML index that lists itself."""
    whole = small_avi()
    at = whole.index(b"strf")
    entry = struct.pack("<QII", at, 48, 10)
    index = struct.pack("<HBBI4s3I", 4, 0, 0, 1000, b"00dc", 0, 0, 0) + entry * 1000
    return whole[:at] + b"indx" + struct.pack("<I", len(index)) + index + whole[at:]


@VIDEOS.item(OK, INVALID)
def avi_with_subtitles_that_are_a_playlist() -> bytes:
    """Request forgery: an HLS playlist as a subtitle of an AVI (CVE-2016-1897)."""
    script = f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{CANARY}/a.ts\n#EXT-X-ENDLIST\n".encode()
    gab2 = (
        b"GAB2\x00\x02\x00" + struct.pack("<I", 4) + b"a\x00\x00\x00\x04\x00" + struct.pack("<I", len(script)) + script
    )
    header = b"strh" + struct.pack("<I", 56) + b"txts" + bytes(16) + struct.pack("<II", 1, 1) + bytes(28)
    stream = header + b"strf" + struct.pack("<I", 0)
    whole = small_avi()
    at = whole.index(b"movi") - 8
    text = b"01tx" + struct.pack("<I", len(gab2)) + gab2 + bytes(len(gab2) % 2)
    list_ = b"LIST" + struct.pack("<I", len(stream) + 4) + b"strl" + stream
    return whole[:at] + list_ + whole[at : at + 12] + text + whole[at + 12 :]


@VIDEOS.item(INVALID)
def avi_with_100_000_tags() -> bytes:
    """CPU: libav searches its list of tags for each new one."""
    return riff(b"AVI ", 100_000)


@VIDEOS.item(TYPE)
def list_of_segments() -> bytes:
    """Request forgery: an HLS playlist."""
    return f"#EXTM3U\n#EXTINF:1,\n{CANARY}/a.ts\n".encode()


@VIDEOS.item(TYPE)
def manifest_of_a_stream() -> bytes:
    """Request forgery: a DASH manifest."""
    return f'<?xml version="1.0"?><MPD><Period><BaseURL>{CANARY}/</BaseURL></Period></MPD>'.encode()


def small_ts() -> bytes:
    return write_video(numbered_pictures(10), container="mpegts", codec_options={"g": "5"}, audio_s=0.3)


def small_flv() -> bytes:
    return write_video(numbered_pictures(10), container="flv", codec="flv")


@VIDEOS.item(INVALID)
def transport_stream_of_nothing() -> bytes:
    """Format: packets of an empty table."""
    return (b"\x47\x40\x00\x10" + bytes(184)) * 100


@VIDEOS.item(INVALID, TIMEOUT, is_slow=True)
def transport_stream_of_40_000_programs() -> bytes:
    """CPU: tables that name ever new programs; libav searches its list for each."""
    tables = [ts_programs(range(256, 296), first) for first in range(1, 40_000, 40)]
    return b"".join(tables) + small_ts()


@VIDEOS.item(OK, INVALID)
def transport_stream_of_8000_streams() -> bytes:
    """Memory: a stream for each number that there is, with its own buffers."""
    pids = range(32, 8000, 32)
    tables = [ts_program(16, [(0x1B, pid + at) for at in range(32)]) for pid in pids]
    return ts_programs([16]) + b"".join(tables) + small_ts()


@VIDEOS.item(OK, INVALID)
def transport_stream_that_jumps_in_time() -> bytes:
    """Clock: the same minute again and again."""
    return small_ts() * 200


@VIDEOS.item(OK, INVALID)
def transport_stream_cut_out_of_another() -> bytes:
    """Decoder state: frames that refer to frames before the start."""
    whole = small_ts()
    return whole[188 * 30 : -188 * 3 - 60]


@VIDEOS.item(INVALID)
def program_stream_of_a_million_empty_packs() -> bytes:
    """CPU: packs without content."""
    return b"\x00\x00\x01\xba\x44\x00\x04\x00\x04\x01\x00\x00\x03\xf8" * 1_000_000


@VIDEOS.item(OK, INVALID)
def program_stream_with_sizes_of_65535() -> bytes:
    """Out-of-bounds read: units that exceed the file."""
    whole = write_video(numbered_pictures(10), container="mpeg", codec="mpeg1video")
    return whole.replace(b"\x00\x00\x01\xe0", b"\x00\x00\x01\xe0\xff\xff")


@VIDEOS.item(INVALID)
def flv_with_a_million_properties() -> bytes:
    """CPU: libav searches its list of tags for each new one."""
    return FLV_HEADER + flv_tag(18, flv_properties(900_000)) + small_flv()[13:]


@VIDEOS.item(OK, INVALID)
def flv_of_objects_1000_deep() -> bytes:
    """Recursion: objects inside one another in its script data."""
    return FLV_HEADER + flv_tag(18, b"\x02\x00\x0aonMetaData" + b"\x03\x00\x01a" * 1000) + small_flv()[13:]


@VIDEOS.item(OK, INVALID)
def flv_with_an_array_of_4_billion() -> bytes:
    """Memory: an array in its script data, such as the index has."""
    index = b"\x00\x09keyframes\x03\x00\x05times\x0a\xff\xff\xff\xff" + bytes(90)
    return FLV_HEADER + flv_tag(18, b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01" + index) + small_flv()[13:]


@VIDEOS.item(OK, INVALID)
def flv_of_a_million_empty_tags() -> bytes:
    """CPU: tags without content."""
    return small_flv() + flv_tag(9, b"") * 1_000_000


@VIDEOS.item(OK, INVALID)
def flv_whose_times_go_backwards() -> bytes:
    """Clock: each frame is shown an hour before the one before it."""
    whole = FLV_HEADER
    for index in range(20):
        whole += flv_tag(9, b"\x12" + bytes([index] * 40), 2**31 - 3_600_000 * index)
    return whole


@VIDEOS.item(OK, INVALID)
def wmv_of_65535_by_65535() -> bytes:
    """Memory: the size in the description of its frames."""
    whole = write_video(numbered_pictures(10), container="asf", codec="wmv2")
    at = whole.index(bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")) + 24 + 54
    return patched(whole, at, b"\xff\xff\x00\x00\xff\xff\x00\x00")


@VIDEOS.item(INVALID)
def wmv_that_is_a_list_of_servers() -> bytes:
    """Request forgery: an ASX playlist behind the start of a header, which names a server."""
    return asf_file(asf_tags(1), data=bytes(26) + f'<asx><entry><ref href="{CANARY}/"/></entry></asx>'.encode())


@VIDEOS.item(INVALID)
def mp4_of_metadata_only() -> bytes:
    """Format: a header, and none of its samples (a download that broke off)."""
    whole = small_mp4()
    start = whole.index(b"mdat") - 4
    end = start + int.from_bytes(whole[start : start + 4], "big")
    return whole[:start] + whole[end:]
