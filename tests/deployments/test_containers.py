import time

import pytest

from deployments.containers import avi_declared_s, declared_bytes, id3_end, mp3_declared_s
from deployments.media import Media
from tests.deployments.transcriber.sounds import SAMPLE_RATE, encode, encode_video, noise, sweep, wav

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
        encode_video(SOUND, container="matroska"),
        encode_video(SOUND, container="matroska", container_options={"live": "1"}, is_streamed=True),
    ],
)
def test_only_the_complete_file_has_its_declared_size(content: Media) -> None:
    assert declared_bytes(content) <= len(content)
    middle = len(content) // 2
    for length in range(middle, middle + 300):
        if declared_bytes(content[:length]) <= length:
            # Between two fragments of an MP4, clusters of a live MKV or pages of Ogg, truncation cannot be detected.
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
