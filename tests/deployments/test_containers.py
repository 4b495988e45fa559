import time

import pytest

from deployments.containers import announced_bytes, avi_announced_s, id3_end, mp3_announced_s
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
def test_a_file_is_whole_with_its_last_byte_only(content: Media) -> None:
    assert announced_bytes(content) <= len(content)
    middle = len(content) // 2
    for length in range(middle, middle + 300):
        if announced_bytes(content[:length]) <= length:
            # Between two fragments of an MP4, clusters of a live MKV or pages of Ogg, nobody can know.
            assert announced_bytes(content[: length + 10]) > length + 10


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x1a\x45\xdf\xa3", b"text " * 100, noise(1).tobytes()])
def test_what_announces_nothing_is_not_cut_off(content: bytes) -> None:
    assert announced_bytes(content) <= len(content)


def test_an_mp3_tells_its_length_in_its_header_only() -> None:
    told = encode(SOUND[None], SAMPLE_RATE, "mp3", "libmp3lame")
    assert mp3_announced_s(told) == pytest.approx(2, abs=0.15)
    untold = encode(SOUND[None], SAMPLE_RATE, "mp3", "libmp3lame", container_options={"write_xing": "0"})
    assert mp3_announced_s(untold) is None
    vbri = bytes(32) + b"VBRI" + bytes(10) + (100).to_bytes(4, "big") + bytes(20)
    assert mp3_announced_s(b"\xff\xfb\x90\x00" + vbri) == pytest.approx(100 * 1152 / 44100)
    assert mp3_announced_s(b"") is None


def test_an_avi_tells_its_length_by_its_pictures() -> None:
    avi = encode_video(SOUND, container="avi", codec="libmp3lame", num_pictures=20)
    assert avi_announced_s(avi) == pytest.approx(2, abs=0.11)
    assert avi_announced_s(wav(SOUND)) is None


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
def test_a_hostile_file_is_looked_at_for_a_bounded_time(content: bytes) -> None:
    started = time.monotonic()
    announced_bytes(content)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("end", range(36, 64))
def test_an_mp3_may_end_within_its_first_header(end: int) -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(32)
    for header in (b"Info" + bytes(3) + b"\x01" + bytes(20), b"VBRI" + bytes(24)):
        assert mp3_announced_s((frame + header)[:end]) in (None, 0.0)


def test_an_id3_tag_ends_behind_its_footer() -> None:
    tag = b"ID3\x04\x00\x10" + b"\x00\x00\x01\x02" + bytes(130)
    assert id3_end(memoryview(tag + b"3DI" + bytes(7) + b"\xff\xfb")) == len(tag) + 10


def test_what_has_an_impossible_size_is_no_id3_tag() -> None:
    assert id3_end(memoryview(b"ID3\x04\x00\x00\x80\x00\x00\x10" + bytes(40))) == 0
