"""Hostile recordings."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np

from deployments.media import Media
from deployments.transcriber.audio import SAMPLE_RATE
from tests.deployments.transcriber.sounds import (
    encode,
    encode_video,
    id3_tag,
    sweep,
    wav,
    wav_by_hand,
    with_unknown_cluster_sizes,
)
from tests.hostile.containers import (
    box,
    edit_box,
    element,
    flac,
    fragment,
    id3,
    movie,
    number,
    one_value_each,
    riff,
    set_field,
    track,
)
from tests.hostile.images import compressed_zeros, patched
from tests.hostile.item import CANARY, OK, Collection
from tests.hostile.streams import aiff, aiff_common, asf_file, asf_markers, asf_tags

INVALID, TYPE, LARGE, TIMEOUT = "INVALID_FILE", "INVALID_FILE_TYPE", "FILE_TOO_LARGE", "TIMEOUT"
SOUNDS = Collection("audio")
SOUND = sweep(1.0)


def small_wav() -> bytes:
    return wav(SOUND).tobytes()


def small_m4a() -> bytes:
    return encode(SOUND[None], SAMPLE_RATE, "ipod", "aac").tobytes()


def small_mp3() -> bytes:
    return encode(SOUND[None], SAMPLE_RATE, "mp3", "libmp3lame", bit_rate=32_000).tobytes()


def small_wma() -> bytes:
    return encode(SOUND[None], SAMPLE_RATE, "asf", "wmav2", bit_rate=32_000).tobytes()


def live_webm() -> Media:
    """Return what a browser records."""
    return encode(
        SOUND[None], 48_000, "webm", "libopus", container_options={"live": "1"}, bit_rate=24_000, is_streamed=True
    )


def small_opus() -> bytes:
    return encode(SOUND[None], 48_000, "ogg", "libopus").tobytes()


def ogg_page(content: bytes, *, flags: int = 0, granule: int = 0, serial: int = 1, sequence: int = 0) -> bytes:
    """Return a page with one packet of less than 65,025 bytes, and its right checksum."""
    lacing = b"\xff" * (len(content) // 255) + bytes([len(content) % 255])
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, granule, serial, sequence)
    return _with_checksum(head, bytes([len(lacing)]) + lacing + content)


def ogg_page_of_packets(packets: Iterable[bytes], granule: int, sequence: int) -> bytes:
    """Return a page of short packets."""
    whole = list(packets)
    head = struct.pack("<4sBBqII", b"OggS", 0, 0, granule, 1, sequence)
    return _with_checksum(head, bytes([len(whole), *map(len, whole)]) + b"".join(whole))


def _with_checksum(head: bytes, rest: bytes) -> bytes:
    return head + struct.pack("<I", _ogg_checksum(head + bytes(4) + rest)) + rest


def _polynomial_table(polynomial: int, bits: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table


_CRC_32, _CRC_16, _CRC_8 = (_polynomial_table(*each) for each in ((0x04C11DB7, 32), (0x8005, 16), (0x07, 8)))


def _ogg_checksum(content: bytes) -> int:
    value = 0
    for byte in content:
        value = value << 8 & 0xFFFFFFFF ^ _CRC_32[value >> 24 ^ byte]
    return value


def with_checksums(content: bytes) -> bytes:
    """Return an Ogg file whose pages have been changed, with the right checksums: libav ignores pages without."""
    pages = []
    for part in content.split(b"OggS")[1:]:
        head, rest = b"OggS" + part[:18], part[22:]
        pages.append(_with_checksum(head, rest))
    return b"".join(pages)


def opus_head(*, channels: int = 1, pre_skip: int = 312, gain: int = 0, family: int = 0, mapping: bytes = b"") -> bytes:
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, channels, pre_skip, 48_000, gain, family) + mapping
    tags = b"OpusTags" + struct.pack("<I", 0) + struct.pack("<I", 0)
    return ogg_page(head, flags=2) + ogg_page(tags, sequence=1)


def opus_silence(num_packets: int, first_sequence: int = 2) -> bytes:
    """Return packets of two bytes, each of which lasts 120 ms."""
    pages = []
    for sequence in range(num_packets // 250):
        granule = 250 * 5760 * (sequence + 1)
        # Configuration 3 is 60 ms of speech; code 3 is a number of frames, which follows, all of them empty.
        pages.append(ogg_page_of_packets([b"\x1b\x02"] * 250, granule, first_sequence + sequence))
    return b"".join(pages)


def flac_silence(num_frames: int, sample_rate: int = 8_000) -> bytes:
    """Return a FLAC whose frames of 65,535 samples take 14 bytes each: a single value, repeated."""
    total = num_frames * 65_535
    info = struct.pack(">HH", 65_535, 65_535) + bytes(6)
    info += ((sample_rate << 44) | (15 << 36) | total).to_bytes(8, "big") + bytes(16)
    parts = [b"fLaC\x80\x00\x00\x22", info]
    for frame in range(num_frames):
        head = b"\xff\xf8\x70\x08" + _coded_number(frame) + b"\xff\xfe"
        whole = head + bytes([_checksum(_CRC_8, 8, head)]) + b"\x00\x00\x00"
        parts.append(whole + _checksum(_CRC_16, 16, whole).to_bytes(2, "big"))
    return b"".join(parts)


def _coded_number(value: int) -> bytes:
    """Return a frame's number in the extension of UTF-8 that FLAC uses."""
    return chr(value).encode("utf-8", "surrogatepass") if value < 0x110000 else b""


def _checksum(table: list[int], bits: int, content: bytes) -> int:
    value = 0
    for byte in content:
        value = value << 8 & (1 << bits) - 1 ^ table[value >> (bits - 8) ^ byte]
    return value


@SOUNDS.item(INVALID)
def wav_of_65535_channels() -> bytes:
    """Memory: a layout of channels, and one frame of each."""
    return patched(small_wav(), 22, b"\xff\xff")


@SOUNDS.item(INVALID)
def wav_at_0_hertz() -> bytes:
    """Division by zero: the sample rate."""
    return patched(small_wav(), 24, bytes(4))


@SOUNDS.item(INVALID)
def wav_at_1_hertz() -> bytes:
    """Memory: a second of sound would become hours when it is resampled."""
    return patched(small_wav(), 24, b"\x01\x00\x00\x00")


@SOUNDS.item(INVALID)
def wav_at_4_gigahertz() -> bytes:
    """Integer overflow: the sample rate."""
    return patched(small_wav(), 24, b"\xff\xff\xff\xff")


@SOUNDS.item(OK, INVALID)
def wav_with_blocks_of_0_bytes() -> bytes:
    """Division by zero: the size of a block."""
    return patched(small_wav(), 32, bytes(2))


@SOUNDS.item(OK, INVALID)
def wav_of_adpcm_with_blocks_of_65535_bytes() -> bytes:
    """Out-of-bounds read: a block longer than the file."""
    whole = encode(SOUND[None], SAMPLE_RATE, "wav", "adpcm_ms").tobytes()
    return patched(whole, 32, b"\xff\xff")


@SOUNDS.item(OK)
def wav_whose_riff_size_is_0() -> bytes:
    """Size: programs that write while they record leave 0."""
    return patched(small_wav(), 4, bytes(4))


@SOUNDS.item(OK)
def wav_whose_data_is_4_gigabytes() -> bytes:
    """Size: a placeholder."""
    return wav_by_hand(SOUND[None], SAMPLE_RATE, data_bytes=2**32 - 1)


@SOUNDS.item(OK, INVALID)
def wav_in_rf64_of_2_to_the_63() -> bytes:
    """Integer overflow: the 64-bit sizes."""
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 2**63, 2**63, 2**63, 0)
    whole = small_wav()
    return b"RF64\xff\xff\xff\xffWAVE" + sizes + whole[12:]


@SOUNDS.item(OK)
def wav_of_numbers_that_are_none() -> bytes:
    """Arithmetic: NaN, infinity and 1e38 as samples."""
    whole = bytearray(encode(SOUND[None], SAMPLE_RATE, "wav", "pcm_f32le").tobytes())
    values = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45], "<f4").tobytes()
    start = whole.index(b"data") + 8
    whole[start : start + 24_000] = values * 1000
    return bytes(whole)


@SOUNDS.item(OK)
def wav_of_one_sample() -> bytes:
    """Arithmetic: less than one window of anything."""
    return wav_by_hand(SOUND[None, :1], SAMPLE_RATE)


@SOUNDS.item(OK, INVALID)
def wav_of_no_sample() -> bytes:
    """Arithmetic: an empty recording, as buttons that are pressed twice make it."""
    return wav_by_hand(SOUND[None, :0], SAMPLE_RATE)


@SOUNDS.item(INVALID)
def wav_with_100_000_tags() -> bytes:
    """CPU: libav searches its list of tags for each new one."""
    return riff(b"WAVE", 100_000)


@SOUNDS.item(INVALID)
def wav_with_cue_points_only() -> bytes:
    """Format: chunks inside one another, and no sound."""
    inner = b""
    for _ in range(1000):
        inner = b"LIST" + struct.pack("<I", len(inner) + 4) + b"adtl" + inner
    return b"RIFF" + struct.pack("<I", len(inner) + 4) + b"WAVE" + inner


@SOUNDS.item(INVALID)
def flac_with_400_000_comments() -> bytes:
    """CPU: the same for FLAC."""
    return flac(400_000)


@SOUNDS.item(LARGE)
def flac_of_three_days_in_half_a_megabyte() -> bytes:
    """Memory: silence that expands to 30 GB of samples."""
    return flac_silence(35_000)


@SOUNDS.item(OK, INVALID)
def flac_with_a_picture_of_16_megabytes() -> bytes:
    """Memory: a cover whose inner lengths are larger than its block."""
    picture = struct.pack(">II", 3, 10) + b"image/jpeg" + b"\xff" * 4 + bytes(20)
    whole = flac_silence(1)
    return whole[:4] + b"\x00" + whole[5:42] + b"\x86" + len(picture).to_bytes(3, "big") + picture + whole[42:]


@SOUNDS.item(OK, INVALID)
def flac_of_nothing_known() -> bytes:
    """Header: sizes of blocks and frames that are 0."""
    whole = encode(SOUND[None], SAMPLE_RATE, "flac", "flac").tobytes()
    return patched(whole, 8, bytes(10))


@SOUNDS.item(LARGE, TIMEOUT, is_slow=True)
def opus_of_four_days_in_six_megabytes() -> bytes:
    """Memory: packets of two bytes that each last 120 ms."""
    return opus_head() + opus_silence(3_000_000)


@SOUNDS.item(OK, INVALID)
def opus_with_a_pre_skip_longer_than_itself() -> bytes:
    """Clock: all of the sound is before its start."""
    return with_checksums(patched(small_opus(), 38, b"\xff\xff"))


@SOUNDS.item(OK)
def opus_with_the_largest_gain() -> bytes:
    """Arithmetic: an output gain of 128 dB."""
    return with_checksums(patched(small_opus(), 44, b"\xff\x7f"))


@SOUNDS.item(OK, INVALID)
def opus_of_255_channels() -> bytes:
    """Memory: a mapping of channels."""
    mapping = bytes([1, 0]) + bytes(255)
    return opus_head(channels=255, family=255, mapping=mapping) + opus_silence(250)


@SOUNDS.item(OK, INVALID)
def ogg_with_wrong_checksums() -> bytes:
    """Damage: each page is invalid."""
    whole = small_opus()
    parts = whole.split(b"OggS")
    return b"OggS".join(part[:18] + b"\x00\x01\x02\x03" + part[22:] if len(part) > 22 else part for part in parts)


@SOUNDS.item(OK, INVALID)
def ogg_whose_time_is_2_to_the_62() -> bytes:
    """Clock: the last page ends in a million years."""
    whole = small_opus()
    return with_checksums(patched(whole, whole.rindex(b"OggS") + 6, struct.pack("<q", 2**62)))


@SOUNDS.item(OK, INVALID)
def ogg_whose_time_goes_backwards() -> bytes:
    """Clock: negative positions."""
    whole = small_opus()
    return with_checksums(patched(whole, whole.rindex(b"OggS") + 6, struct.pack("<q", -(2**62))))


@SOUNDS.item(OK, INVALID)
def ogg_of_20_000_streams() -> bytes:
    """Memory: libav makes a stream for each serial number."""
    heads = (ogg_page(b"OpusHead\x01\x01" + bytes(9), flags=2, serial=serial) for serial in range(20_000))
    return b"".join(heads)


@SOUNDS.item(OK, INVALID)
def ogg_of_2_000_files_in_a_row() -> bytes:
    """CPU: a chained file has new headers each time."""
    whole = encode(SOUND[None, :1600], 48_000, "ogg", "libopus").tobytes()
    return whole * 2_000


@SOUNDS.item(INVALID)
def ogg_of_an_unknown_codec() -> bytes:
    """Format: a stream that nobody knows."""
    return ogg_page(b"Unknown!" + bytes(100), flags=2) + ogg_page(bytes(1000), granule=1000, sequence=1) * 10


@SOUNDS.item(INVALID)
def vorbis_without_its_codebooks() -> bytes:
    """Decoder state: sound before the setup header."""
    whole = encode(np.stack([SOUND, SOUND]), SAMPLE_RATE, "ogg", "vorbis", {"strict": "-2"}).tobytes()
    return with_checksums(whole.replace(b"\x05vorbis", b"\x07vorbis"))


@SOUNDS.item(INVALID)
def mp3_with_an_id3_tag_of_256_megabytes() -> bytes:
    """Memory: the size of the tag."""
    return b"ID3\x03\x00\x00\x7f\x7f\x7f\x7fTXXX\x7f\xff\xff\xff\x00\x00" + small_mp3()


@SOUNDS.item(OK)
def mp3_with_an_id3_bomb() -> bytes:
    """Memory: a compressed frame of a tag that expands to 400 MB."""
    data = compressed_zeros(400_000_000)
    frame = b"TXXX" + struct.pack(">I", len(data) + 4) + b"\x00\x80" + struct.pack(">I", 400_000_000) + data
    return b"ID3\x03\x00\x00" + bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0)) + frame + small_mp3()


@SOUNDS.item(INVALID)
def mp3_with_400_000_tags() -> bytes:
    """CPU: each frame of the tag becomes an entry of a list that is searched."""
    return id3(180_000, 3) + small_mp3()


@SOUNDS.item(OK)
def mp3_with_a_cover_that_looks_like_sound() -> bytes:
    """Type confusion: frame headers in a picture."""
    return id3_tag(3_000_000) + small_mp3()


@SOUNDS.item(OK)
def mp3_that_claims_four_billion_frames() -> bytes:
    """Clock: the duration in the Xing header."""
    whole = small_mp3()
    at = max(whole.find(b"Xing"), whole.find(b"Info"))
    return patched(whole, at + 8, b"\xff\xff\xff\xff")


@SOUNDS.item(OK, INVALID)
def mp3_with_junk_between_its_frames() -> bytes:
    """Damage: bytes that look like headers, between the frames."""
    whole = small_mp3()
    return b"".join(whole[at : at + 500] + b"\xff\xfb\xff\xe3" * 50 for at in range(0, len(whole), 500))


@SOUNDS.item(OK)
def mp3_whose_rate_changes_all_the_time() -> bytes:
    """Memory: a converter for each change of format."""
    parts = [
        encode(SOUND[None, :2400], rate, "mp3", "libmp3lame", bit_rate=32_000).tobytes()
        for rate in (16_000, 44_100, 48_000)
    ]
    return b"".join(parts) * 150


@SOUNDS.item(TYPE)
def aac_in_adts_with_junk() -> bytes:
    """Format: a raw stream, which is not supported."""
    return b"\xff\xf1\x50\x80\x02\x1f\xfc" * 3000


@SOUNDS.item(INVALID)
def m4a_of_120_million_samples() -> bytes:
    """Memory: a table of one size in three tracks (4.6 GB from 1.5 kB)."""
    return movie(*[track(40_000_000, b"soun")] * 3)


@SOUNDS.item(INVALID)
def m4a_of_uncompressed_sound_in_huge_chunks() -> bytes:
    """Memory: an index of chunks of 2^31 samples."""
    description = box("stsc", bytes(4), struct.pack(">IIII", 1, 1, 2**31 - 1, 1))
    offsets = box("stco", bytes(4), struct.pack(">I", 1000), bytes(4000))
    return movie(track(1000, b"soun", one_value_each(1000), description + offsets))


@SOUNDS.item(INVALID)
def m4a_in_fragments_of_millions_of_samples() -> bytes:
    """Memory: runs of samples in fragments."""
    return movie(track(1, b"soun")) + fragment(2**31 - 1) * 10


STTS = "moov/trak/mdia/minf/stbl/stts"


@SOUNDS.item(OK, INVALID)
def m4a_whose_samples_last_for_ever() -> bytes:
    """Clock: a duration of 2^31 ticks for each sample."""
    return set_field(STTS, 12, b"\x7f\xff\xff\xff")(small_m4a())


@SOUNDS.item(OK, INVALID)
def m4a_with_4_billion_samples_of_one_duration() -> bytes:
    """CPU: a run of 2^32 samples in the table of times."""
    return set_field(STTS, 8, b"\xff\xff\xff\xff")(small_m4a())


def edits(*entries: tuple[int, int, int]) -> bytes:
    """Return an edit list of version 1; entries are a duration, a media time and a rate."""
    content = b"".join(struct.pack(">QqI", *entry) for entry in entries)
    return bytes([1, 0, 0, 0]) + struct.pack(">I", len(entries)) + content


def with_edits(*entries: tuple[int, int, int]) -> bytes:
    return edit_box(small_m4a(), "moov/trak/edts/elst", lambda _: edits(*entries))


@SOUNDS.item(OK, INVALID)
def m4a_with_edits_of_2_to_the_63() -> bytes:
    """Integer overflow: an edit list with extreme values."""
    return with_edits((2**63 - 1, 2**63 - 1, 0x10000), (2**63 - 1, -(2**63), 0x10000))


@SOUNDS.item(OK, INVALID)
def m4a_with_edits_of_rate_zero() -> bytes:
    """Clock: edits that dwell, and that play backwards."""
    return with_edits((10_000, 0, 0), (10_000, 0, 0xFFFF0000))


@SOUNDS.item(OK, INVALID)
def m4a_that_starts_in_300_years() -> bytes:
    """Clock: an empty edit of 2^62 ticks."""
    return with_edits((2**62, -1, 0x10000), (1000, 0, 0x10000))


@SOUNDS.item(OK, INVALID, TIMEOUT, is_slow=True)
def m4a_with_100_000_edits() -> bytes:
    """CPU: libav repeats the index for each edit."""
    return with_edits(*[(1, 0, 0x10000)] * 100_000)


@SOUNDS.item(TYPE, INVALID)
def m4a_of_boxes_1000_deep() -> bytes:
    """Recursion: boxes inside one another."""
    inner = b""
    for depth in range(1000):
        inner = box("trak" if depth % 2 else "moov", inner)
    return box("ftyp", b"M4A ", bytes(4)) + inner


@SOUNDS.item(INVALID)
def m4a_with_boxes_of_sizes_0_and_1() -> bytes:
    """Endless loop: a box that extends to the end, and one with a 64-bit size of 0."""
    whole = small_m4a()
    return whole[:32] + b"\x00\x00\x00\x01free" + bytes(8) + b"\x00\x00\x00\x00free" + whole[32:]


@SOUNDS.item(INVALID, is_slow=True)
def m4a_whose_header_is_a_bomb() -> bytes:
    """Memory: a compressed header (cmov), behind which no check can see, that expands to 400 MB."""
    data = compressed_zeros(400_000_000)
    moved = box("cmov", box("dcom", b"zlib"), box("cmvd", struct.pack(">I", 400_000_000), data))
    return box("ftyp", b"M4A ", bytes(4)) + box("moov", moved) + box("mdat", bytes(64))


@SOUNDS.item(INVALID)
def m4a_whose_compressed_header_claims_40_million_samples() -> bytes:
    """Memory: the table of 40 million samples, hidden in a compressed header (cmov)."""
    header = movie(track(40_000_000, b"soun"))[20:-72]
    moved = box("cmov", box("dcom", b"zlib"), box("cmvd", struct.pack(">I", len(header)), zlib.compress(header)))
    return box("ftyp", b"M4A ", bytes(4)) + box("moov", moved) + box("mdat", bytes(64))


@SOUNDS.item(OK, INVALID)
def m4a_that_refers_to_other_files() -> bytes:
    """Request forgery: data references to a server and to a file of this machine."""
    references = box("url ", bytes(4), CANARY.encode() + b"/sound\x00") + box(
        "url ", bytes(4), b"file:///etc/passwd\x00"
    )
    whole = small_m4a()
    return edit_box(whole, "moov/trak/mdia/minf/dinf/dref", lambda _: bytes(4) + struct.pack(">I", 2) + references)


@SOUNDS.item(OK, INVALID)
def m4a_with_20_000_descriptions() -> bytes:
    """Memory: a description for each sample."""
    return edit_box(
        small_m4a(),
        "moov/trak/mdia/minf/stbl/stsd",
        lambda inner: inner[:4] + struct.pack(">I", 20_000) + inner[8:] * 20_000,
    )


@SOUNDS.item(OK, INVALID)
def m4a_of_alac_with_frames_of_2_to_the_31() -> bytes:
    """Memory: the size of a frame in the configuration of Apple Lossless."""
    whole = encode(SOUND[None], SAMPLE_RATE, "ipod", "alac").tobytes()
    return patched(whole, whole.rindex(b"alac") + 8, b"\x7f\xff\xff\xff")


@SOUNDS.item(INVALID)
def playlist_behind_an_id3_tag() -> bytes:
    """Request forgery: an HLS playlist that begins like an MP3."""
    return b"ID3\x03\x00\x00\x00\x00\x00\x00" + playlist()


@SOUNDS.item(TYPE)
def playlist() -> bytes:
    """Request forgery: an HLS playlist."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{CANARY}/a.ts\n#EXT-X-ENDLIST\n".encode()


@SOUNDS.item(TYPE)
def list_of_files_to_join() -> bytes:
    """Request forgery: FFmpeg's concat script."""
    return f"ffconcat version 1.0\nfile /etc/passwd\nfile {CANARY}/a.wav\n".encode()


@SOUNDS.item(TYPE)
def session_description() -> bytes:
    """Request forgery: SDP, which makes FFmpeg listen on the network."""
    return b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 8129 RTP/AVP 0\n"


@SOUNDS.item(TYPE)
def video_as_sound() -> bytes:
    """Wrong route: a video."""
    return encode_video(SOUND).tobytes()


@SOUNDS.item(OK, INVALID)
def webm_without_clusters() -> bytes:
    """Format: a recording of a browser that was stopped before it began."""
    return element(0x1A45DFA3, element(0x4282, b"webm")) + element(
        0x18538067, element(0x1654AE6B, element(0xAE, element(0x83, number(2))))
    )


@SOUNDS.item(OK, INVALID)
def webm_of_200_000_clusters_of_unknown_size() -> bytes:
    """CPU: clusters inside one another, as none of them ends."""
    whole = with_unknown_cluster_sizes(live_webm()).tobytes()
    return whole + b"\x1f\x43\xb6\x75\xff" * 200_000


@SOUNDS.item(INVALID)
def aiff_with_60_000_tags() -> bytes:
    """CPU: an ID3 tag in a chunk; libav searches its list of tags for each new one."""
    tag = id3(60_000, 3)[:-417]
    return aiff((b"COMM", aiff_common()), (b"ID3 ", tag), (b"SSND", bytes(32_008)))


@SOUNDS.item(INVALID)
def aiff_of_32767_channels() -> bytes:
    """Memory: a layout of channels."""
    return aiff((b"COMM", aiff_common(channels=32_767)), (b"SSND", bytes(70_000)))


@SOUNDS.item(OK, INVALID)
def aiff_at_0_hertz() -> bytes:
    """Division by zero: the sample rate."""
    return aiff((b"COMM", aiff_common(rate=b"")), (b"SSND", bytes(32_008)))


@SOUNDS.item(OK, INVALID)
def aiff_at_an_infinite_rate() -> bytes:
    """Arithmetic: an extended float that is no number."""
    return aiff((b"COMM", aiff_common(rate=b"\x7f\xff\xff\xff")), (b"SSND", bytes(32_008)))


@SOUNDS.item(OK)
def aiff_without_samples() -> bytes:
    """Format: a header and a million chunks of nothing."""
    return aiff((b"COMM", aiff_common()), *[(b"NAME", b"")] * 1_000_000)


@SOUNDS.item(OK, INVALID)
def aiff_of_a_claimed_size_of_0() -> bytes:
    """Format: sizes of 0, and of 4 GB."""
    return aiff((b"COMM", aiff_common(num_frames=2**32 - 1)), (b"SSND", bytes(32_008)), size=0)


@SOUNDS.item(OK)
def amr_of_frames_without_sound() -> bytes:
    """Memory: frames of one byte, each of which is 20 ms of silence (two hours)."""
    return b"#!AMR\n" + b"\x7c" * 360_000


@SOUNDS.item(OK, TIMEOUT, is_slow=True)
def amr_of_weeks_of_silence() -> bytes:
    """CPU: as many of them as an upload may have."""
    return b"#!AMR\n" + b"\x7c" * 50_000_000


@SOUNDS.item(OK)
def amr_of_nothing() -> bytes:
    """Format: the first line only."""
    return b"#!AMR\n"


@SOUNDS.item(INVALID)
def aac_with_20_000_tags_in_its_stream() -> bytes:
    """CPU: ID3 tags between the frames, which libav adds to one another."""
    whole = encode(SOUND[None], SAMPLE_RATE, "adts", "aac").tobytes()
    return whole + id3(1, 3)[:-417] * 20_000 + whole


@SOUNDS.item(OK, INVALID)
def aac_of_empty_frames() -> bytes:
    """CPU: frames with a header only, each of which is an error."""
    return b"\xff\xf1\x60\x40\x00\xff\xfc" * 50_000


@SOUNDS.item(INVALID)
def wma_with_60_000_tags() -> bytes:
    """CPU: a list of tags in the header."""
    return asf_file(asf_tags(60_000))


@SOUNDS.item(INVALID)
def wma_with_a_million_markers() -> bytes:
    """CPU: libav searches its list of chapters for each new one."""
    return asf_file(asf_markers(1_000_000))


@SOUNDS.item(OK, INVALID)
def wma_with_objects_of_size_0() -> bytes:
    """Endless loop: an object that ends before it starts."""
    whole = small_wma()
    return patched(whole, 30 + 16, bytes(8))


@SOUNDS.item(OK, INVALID)
def wma_with_a_header_of_2_to_the_63() -> bytes:
    """Integer overflow: the size of the header."""
    return patched(small_wma(), 16, b"\xff" * 7 + b"\x7f")


@SOUNDS.item(OK, INVALID)
def wma_with_packets_of_4_gigabytes() -> bytes:
    """Memory: the size of a packet."""
    whole = small_wma()
    at = whole.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 24 + 68
    return patched(whole, at, b"\xff" * 8)


@SOUNDS.item(OK, INVALID)
def wma_whose_blocks_are_65535_bytes() -> bytes:
    """Memory: the alignment in the description of its samples."""
    whole = small_wma()
    at = whole.index(bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")) + 24 + 54 + 12
    return patched(whole, at, b"\xff\xff")


@SOUNDS.item(OK, INVALID)
def transport_stream_of_sound_with_damaged_tables() -> bytes:
    """Out-of-bounds read: sizes in a table that exceed its packet."""
    whole = bytearray(encode(SOUND[None], SAMPLE_RATE, "mpegts", "aac").tobytes())
    for start in range(0, len(whole), 188):
        if whole[start + 1] & 0x5F == 0x40 and whole[start + 2] == 0:
            whole[start + 6 : start + 8] = b"\xbf\xff"
    return bytes(whole)


@SOUNDS.item(OK, TIMEOUT, is_slow=True)
def wav_of_two_hours_of_silence() -> bytes:
    """CPU: the longest legal recording."""
    return wav_by_hand(np.zeros((1, 8_000 * 3000), np.float32), 8_000)
