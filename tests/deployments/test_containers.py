import time

import pytest

from deployments import asf
from deployments.containers import (
    LateStart,
    avi_declared_s,
    declared_bytes,
    id3_end,
    mp3_declared_s,
    ogg_flac_start,
)
from deployments.media import Media
from tests.deployments.transcriber.sounds import (
    SAMPLE_RATE,
    SoundTrack,
    encode,
    encode_tracks,
    encode_video,
    noise,
    sweep,
    wav,
)

SOUND = sweep(2)


@pytest.mark.parametrize(
    "content",
    [
        wav(SOUND),
        encode(SOUND[None], SAMPLE_RATE, "ogg", "flac"),
        encode(SOUND[None], SAMPLE_RATE, "ipod", "aac"),
        encode_video(SOUND),
        encode_video(SOUND, container_options={"movflags": "frag_keyframe+empty_moov"}),
        encode_video(SOUND, container="avi", codec="libmp3lame"),
        encode_video(SOUND, container="mpegts"),
        encode_video(SOUND, container="mpeg", codec="mp2"),
        encode_video(SOUND, container="asf", codec="mp2"),
        encode_video(SOUND, container="asf", codec="mp2", is_streamed=True),
        encode_video(sweep(2, 22_050), 22_050, "flv", "aac", video_codec="flv"),
        encode(SOUND[None], SAMPLE_RATE, "aiff", "pcm_s16be"),
        encode_video(SOUND, container="matroska"),
        encode_video(SOUND, container="matroska", container_options={"live": "1"}, is_streamed=True),
    ],
)
def test_only_the_complete_file_has_its_declared_size(content: Media) -> None:
    assert declared_bytes(content) <= len(content)
    middle = len(content) // 2
    for length in range(middle, middle + 300):
        if declared_bytes(content[:length]) <= length:
            # Between two fragments of an MP4, clusters of a live MKV, pages of Ogg or packets of MPEG,
            # truncation cannot be detected.
            assert declared_bytes(content[: length + 10]) > length + 10


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x1a\x45\xdf\xa3", b"text " * 100, noise(1).tobytes()])
def test_content_without_a_declared_size_is_not_truncated(content: bytes) -> None:
    assert declared_bytes(content) <= len(content)


def test_an_mp3_declares_its_duration_only_in_its_header() -> None:
    with_header = encode(SOUND[None], SAMPLE_RATE, "mp3", "libmp3lame")
    assert mp3_declared_s(with_header) == pytest.approx(2, abs=0.15)
    without_header = encode(SOUND[None], SAMPLE_RATE, "mp3", "libmp3lame", container_options={"write_xing": "0"})
    assert mp3_declared_s(without_header) is None
    vbri = bytes(32) + b"VBRI" + bytes(10) + (100).to_bytes(4, "big") + bytes(20)
    assert mp3_declared_s(b"\xff\xfb\x90\x00" + vbri) == pytest.approx(100 * 1152 / 44100)
    assert mp3_declared_s(b"") is None


def test_an_avi_declares_the_duration_of_its_video() -> None:
    avi = encode_video(SOUND, container="avi", codec="libmp3lame", num_pictures=20)
    assert avi_declared_s(avi) == pytest.approx(2, abs=0.11)
    assert avi_declared_s(wav(SOUND)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF\x00\x00\x00\x00WAVE" + b"junk\x00\x00\x00\x00" * 12_000_000,
        b"\x00\x00\x00\x08free" * 12_000_000,
        b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * 50_000_000,
        b"\x1a\x45\xdf\xa3\x80" + b"\x1f\x43\xb6\x75\xff" * 20_000_000,
        b"OggS" * 25_000_000,
        b"FLV\x01\x05\x00\x00\x00\x09" + bytes(75_000_000),
        b"\x00\x00\x01\xba" * 25_000_000,
        b"\x00\x00\x01\xbe\x00\x00" * 12_000_000,
        asf.MAGIC + b"\x18" + bytes(50_000_000),
        b"\x47".ljust(188) * 500_000,
    ],
)
def test_a_malicious_file_is_read_in_limited_time(content: bytes) -> None:
    started = time.monotonic()
    declared_bytes(content)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("end", range(36, 64))
def test_an_mp3_may_be_truncated_within_its_first_header(end: int) -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(32)
    for header in (b"Info" + bytes(3) + b"\x01" + bytes(20), b"VBRI" + bytes(24)):
        assert mp3_declared_s((frame + header)[:end]) in (None, 0.0)


def test_an_id3_tag_ends_after_its_footer() -> None:
    tag = b"ID3\x04\x00\x10" + b"\x00\x00\x01\x02" + bytes(130)
    assert id3_end(memoryview(tag + b"3DI" + bytes(7) + b"\xff\xfb")) == len(tag) + 10


def test_an_id3_tag_with_an_impossible_size_is_ignored() -> None:
    assert id3_end(memoryview(b"ID3\x04\x00\x00\x80\x00\x00\x10" + bytes(40))) == 0


def late_flac(frame: bytes, position: int = 0, flags: int = 0) -> bytes:
    """Return an Ogg FLAC whose first page of sound holds two such frames, and ends at a position."""

    def page(content: bytes, flags: int, position: int, sizes: list[int]) -> bytes:
        head = b"OggS\x00" + bytes([flags]) + position.to_bytes(8, "little") + bytes(12)
        return head + bytes([len(sizes), *sizes]) + content

    header = b"\x7fFLAC" + bytes(46)
    return (
        page(header, 2, 0, [len(header)])
        + page(b"\x84" + bytes(9), 0, 0, [10])
        + page(frame * 2, flags, position, [len(frame)] * 2)
    )


@pytest.mark.parametrize(
    ("frame", "num_samples"),
    [
        (b"\xff\xf8\x18\x08\x00" + bytes(6), 192),
        (b"\xff\xf8\x38\x08\x00" + bytes(6), 1152),
        (b"\xff\xf8\xc8\x08\x00" + bytes(6), 4096),
        (b"\xff\xf8\x68\x08\x05\x63" + bytes(6), 100),
        (b"\xff\xf8\x78\x08\xc4\x80\x0f\x9f" + bytes(6), 4000),
    ],
)
def test_the_start_of_an_ogg_flac_is_the_position_of_its_first_page_without_its_samples(
    frame: bytes, num_samples: int
) -> None:
    late = late_flac(frame, 48_000 + 2 * num_samples)
    assert ogg_flac_start(late) == LateStart(48_000, 2 * num_samples)
    assert ogg_flac_start(late_flac(frame, 2 * num_samples)) is None
    assert ogg_flac_start(late_flac(frame, 2**64 - 1)) is None


def test_other_files_have_no_start_of_an_ogg_flac() -> None:
    for codec in ("flac", "libopus"):
        assert ogg_flac_start(encode_tracks(SoundTrack(SOUND), container="ogg", codec=codec).data) is None
    late = encode_tracks(SoundTrack(SOUND, start_s=2.0), container="ogg", codec="flac").tobytes()
    start = ogg_flac_start(late)
    assert start is not None
    assert start.start == 2 * SAMPLE_RATE
    for length in range(0, len(late), 7):
        ogg_flac_start(late[:length])
