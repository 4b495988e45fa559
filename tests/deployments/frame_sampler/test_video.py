import io
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from deployments import flv
from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, InvalidFile
from deployments.frame_sampler.display import display_pixels
from deployments.frame_sampler.video import Video
from deployments.media import MediaReader, as_media
from tests.deployments.transcriber.sounds import encode_video, sweep, with_unknown_cluster_sizes
from tests.videos import numbered_picture, numbered_pictures, read_number, write_video

SHORT_GOP = {"g": "8", "bf": "2", "sc_threshold": "0"}
LONG_GOP = {"g": "250", "bf": "3"}


def open_video(content: bytes, max_pixels: int = 10**7) -> Video:
    return Video(MediaReader(as_media(content)), max_pixels, Cancellation(time.time() + 20))


def numbers_in_pictures(video: Video, numbers: list[int]) -> dict[int, int]:
    """Decode frames by number; return the numbers in their pictures."""
    return {
        number: read_number(display_pixels(frame, video.pixel_aspect, 1000)) for number, frame in video.decode(numbers)
    }


def assert_each_number_gives_its_frame(content: bytes, times_s: list[Fraction], tolerance_s: float = 0) -> None:
    count = len(times_s)
    with open_video(content) as video:
        assert len(video.times) == count
        timestamps_s = [video.timestamp_s(number) for number in range(count)]
        assert timestamps_s == pytest.approx([float(at) for at in times_s], abs=tolerance_s + 1e-9)
        for numbers in [list(range(count)), list(range(0, count, 7)), [count - 1], [count // 2], [0]]:
            assert numbers_in_pictures(video, numbers) == {number: number for number in numbers}


def shift_edit_list(content: bytes, ticks: int) -> bytes:
    """Start the presentation of an MP4 `ticks` of the media's time scale later, as trimming without re-encoding does.

    ISO/IEC 14496-12, 8.6.6: version, flags, count, duration, media time.
    """
    at = content.index(b"elst") + 16
    media_time = int.from_bytes(content[at : at + 4], "big")
    return content[:at] + (media_time + ticks).to_bytes(4, "big") + content[at + 4 :]


@pytest.mark.parametrize("options", [SHORT_GOP, LONG_GOP, {"g": "8", "bf": "0"}], ids=["short", "long", "no_b_frames"])
@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "libx264"),
        ("matroska", "libx264"),
        ("avi", "libx264"),
        ("avi", "mpeg4"),
        ("mp4", "mpeg4"),
        ("matroska", "mpeg4"),
    ],
)
def test_each_number_gives_its_own_frame(container: str, codec: str, options: dict[str, str]) -> None:
    content = write_video(numbered_pictures(30), container=container, codec=codec, codec_options=options)
    rounding_s = 0.0005 if container == "matroska" else 0
    assert_each_number_gives_its_frame(content, [Fraction(number, 30) for number in range(30)], rounding_s)


@pytest.mark.parametrize(
    "write_options",
    [
        pytest.param(
            {"codec": "libx264", "codec_options": {"x264-params": "open-gop=1:keyint=8:bframes=3"}}, id="x264"
        ),
        pytest.param(
            {"codec": "libx265", "codec_options": {"x265-params": "log-level=none:pools=1:open-gop=1:keyint=8"}},
            id="x265",
        ),
        pytest.param({"codec_options": {"x264-params": "intra-refresh=1:keyint=8"}}, id="intra_refresh"),
        pytest.param({"container_options": {"movflags": "frag_keyframe+delay_moov"}}, id="fragmented"),
        pytest.param({"container": "avi", "codec": "mjpeg", "pix_fmt": "yuvj420p"}, id="mjpeg"),
        pytest.param({"codec": "libvpx-vp9", "container": "matroska", "codec_options": {"g": "8"}}, id="vp9"),
        pytest.param({"pix_fmt": "yuv420p10le", "codec": "libx265"}, id="ten_bits"),
        pytest.param({"cover": True}, id="cover_art"),
        pytest.param({"audio_s": 3.0}, id="longer_sound"),
    ],
)
def test_each_number_gives_its_own_frame_in_unusual_files(write_options: dict[str, Any]) -> None:
    content = write_video(numbered_pictures(30), **write_options)
    rounding_s = 0.0005 if write_options.get("container") == "matroska" else 0
    assert_each_number_gives_its_frame(content, [Fraction(number, 30) for number in range(30)], rounding_s)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_variable_frame_rate_keeps_every_timestamp(container: str, codec: str) -> None:
    """As from phones and screen recorders: jitter, dropped frames, and a frame that lasts for seconds."""
    intervals_ms = [33, 34, 31, 36, 66, 33, 17, 50, 3000, 16, 17, 100, 33, 1200, 40]
    times_s = [Fraction(sum(intervals_ms[:count]), 1000) for count in range(len(intervals_ms) + 1)]
    pictures = list(numbered_pictures(len(times_s)))
    content = write_video(pictures, container=container, codec=codec, times_s=times_s, audio_s=6.0)
    assert_each_number_gives_its_frame(content, times_s)
    with open_video(content) as video:
        assert float(video.duration * video.tick_s) == pytest.approx(float(times_s[-1]) + 0.04)
        assert video.has_audio


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("audio_s", [0.0, 6.2], ids=["without_audio", "audio_starts_earlier"])
def test_a_video_stream_that_starts_late_keeps_the_containers_clock(container: str, audio_s: float) -> None:
    times_s = [Fraction(50 + number, 10) for number in range(12)]
    content = write_video(numbered_pictures(12), container=container, times_s=times_s, audio_s=audio_s)
    assert_each_number_gives_its_frame(content, times_s)
    with open_video(content) as video:
        assert float(video.duration * video.tick_s) == pytest.approx(1.2)
        assert video.end_s == pytest.approx(6.2)


def test_a_fragmented_file_without_an_edit_list_keeps_the_encoders_delay() -> None:
    """Two B-frames delay the first frame by two intervals, on the clock that the audio shares."""
    content = write_video(numbered_pictures(30), container_options={"movflags": "frag_keyframe+empty_moov"})
    with open_video(content) as video:
        delay_s = video.timestamp_s(0)
        assert 0 < delay_s <= 0.1
    assert_each_number_gives_its_frame(content, [Fraction(delay_s) + Fraction(number, 30) for number in range(30)])


@pytest.mark.parametrize(
    "container_options", [{}, {"movflags": "frag_keyframe+delay_moov"}], ids=["plain", "fragmented"]
)
def test_frames_before_an_edit_list_do_not_count(container_options: dict[str, str]) -> None:
    whole = write_video(numbered_pictures(30), codec_options=SHORT_GOP, container_options=container_options)
    cut = shift_edit_list(whole, 11 * 512)
    with open_video(cut) as video:
        assert len(video.times) == 19
        assert video.timestamp_s(1) == pytest.approx(1 / 30)
        numbers = list(range(19))
        assert numbers_in_pictures(video, numbers) == {number: number + 11 for number in numbers}
        assert numbers_in_pictures(video, [18]) == {18: 29}


def test_frames_after_an_edit_list_do_not_count() -> None:
    content = write_video(numbered_pictures(30), codec_options=SHORT_GOP)
    at = content.index(b"elst") + 12
    cut = content[:at] + (500).to_bytes(4, "big") + content[at + 4 :]  # Milliseconds, the movie's time scale.
    with open_video(cut) as video:
        assert len(video.times) == 15
        assert float(video.duration * video.tick_s) == pytest.approx(0.5)
        assert numbers_in_pictures(video, list(range(15))) == {number: number for number in range(15)}


def test_a_truncated_frame_does_not_count() -> None:
    content = write_video(numbered_pictures(10), container="avi", codec="mjpeg", pix_fmt="yuvj420p")
    last = content.rindex(b"\xff\xd8\xff")
    with open_video(content[: last + 100]) as video:
        assert len(video.times) == 9


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "avi"])
def test_a_single_frame_lasts_one_frame_interval(container: str) -> None:
    content = write_video([numbered_picture(7)], container=container)
    with open_video(content) as video:
        assert numbers_in_pictures(video, [0]) == {0: 7}
        assert float(video.duration * video.tick_s) == pytest.approx(1 / 30, abs=0.001)


def test_a_long_last_frame_counts_with_its_duration() -> None:
    content = write_video(numbered_pictures(10), codec_options={"bf": "0"}, last_frame_s=8)
    with open_video(content) as video:
        assert float(video.duration * video.tick_s) == pytest.approx(9 / 30 + 8)


@pytest.mark.parametrize("codec", ["mpeg4", "libx265"])
def test_a_container_that_marks_every_frame_as_a_keyframe_is_not_trusted(codec: str) -> None:
    whole = write_video(numbered_pictures(30), codec=codec, codec_options={"g": "250"})
    with open_video(whole.replace(b"stss", b"free")) as video:
        assert len(video.keyframes()) == 30
        assert numbers_in_pictures(video, [11, 25]) == {11: 11, 25: 25}


def test_the_frames_after_a_dropped_one_in_an_avi_keep_their_times() -> None:
    times_s = [Fraction(at, 30) for at in (0, 1, 3, 4, 5)]
    content = write_video(numbered_pictures(5), container="avi", codec="mjpeg", pix_fmt="yuvj420p", times_s=times_s)
    assert_each_number_gives_its_frame(content, times_s, tolerance_s=0.002)
    with open_video(content) as video:
        assert float(video.duration * video.tick_s) == pytest.approx(6 / 30, abs=0.002)


def test_a_container_that_seeks_to_wrong_positions_is_decoded_from_the_start() -> None:
    whole = write_video(
        numbered_pictures(60),
        container="matroska",
        codec_options=SHORT_GOP,
        container_options={"cluster_time_limit": "250"},
    )
    entry = b"\xf7\x81\x01\xf1\x82"  # In each cue: CueTrack 1, then CueClusterPosition of two bytes.
    head, *cues = whole.split(entry)
    wrong = entry.join([head, *(cues[-1][:2] + cue[2:] for cue in cues)])
    assert wrong != whole
    with open_video(wrong) as video:
        assert numbers_in_pictures(video, [3, 12, 20, 50]) == {3: 3, 12: 12, 20: 20, 50: 50}


def test_seeking_avoids_decoding_from_the_start() -> None:
    content = write_video(numbered_pictures(30), codec_options=SHORT_GOP)
    with open_video(content) as video:
        assert video.keyframes() == [0, 8, 16, 24]
        assert video.num_frames_to_decode([29]) == 6
        assert video.num_frames_to_decode([0, 29]) == 7


def test_frames_that_cannot_be_decoded_are_replaced_by_the_frame_before() -> None:
    content = write_video(numbered_pictures(30), codec="mjpeg", container="avi", pix_fmt="yuvj420p")
    pictures = [at for at in range(len(content)) if content[at : at + 3] == b"\xff\xd8\xff"]
    broken = content[: pictures[12]] + b"\0" * 200 + content[pictures[12] + 200 :]
    with open_video(broken) as video:
        assert len(video.times) == 30
        assert numbers_in_pictures(video, [3, 12, 20]) == {3: 3, 11: 11, 20: 20}


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "avi"])
@pytest.mark.parametrize("faststart", [True, False], ids=["index_first", "index_last"])
def test_a_truncated_file_gives_correct_frames_or_is_refused(container: str, faststart: bool) -> None:
    moov_first = {"movflags": "faststart"} if faststart and container in ("mp4", "mov") else None
    whole = write_video(
        numbered_pictures(40), container=container, codec_options=SHORT_GOP, container_options=moov_first, audio_s=1
    )
    counts = []
    for tenth in range(10):
        try:
            with open_video(whole[: len(whole) * tenth // 10]) as video:
                numbers = list(range(len(video.times)))
                counts.append(len(numbers))
                pictures = numbers_in_pictures(video, numbers)
                # Frames that are shown before the last one may be missing.
                assert all(number == read for number, read in pictures.items() if number != numbers[-1])
                assert len(pictures) >= len(numbers) - 3
        except InvalidFile:
            counts.append(0)
    assert counts == sorted(counts)
    has_index = faststart or container in ("matroska", "avi")
    assert (counts[-1] > 20) is has_index


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
def test_corrupt_bytes_give_frames_or_a_refusal(container: str) -> None:
    whole = np.frombuffer(write_video(numbered_pictures(20), container=container, codec_options=SHORT_GOP), np.uint8)
    generator = np.random.default_rng(20251017)
    outcomes = set()
    for _ in range(60):
        media = whole.copy()
        where = generator.integers(0, generator.choice([len(media), 1500]), size=generator.choice([1, 4, 30]))
        media[where] = generator.integers(0, 256, size=len(where))
        try:
            with open_video(media.tobytes()) as video:
                frames = dict(video.decode(list(range(0, len(video.times), 3))))
                assert frames
                outcomes.add("frames")
        except InvalidFile:
            outcomes.add("refusal")
    assert outcomes == {"frames", "refusal"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"GIF89a" + b"\1" * 500, b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n" * 9],
    ids=["empty", "zeros", "picture", "playlist"],
)
def test_content_that_is_not_a_video_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidFile, match="cannot be opened"):
        open_video(content)


def test_a_playlist_is_never_followed(tmp_path: Any) -> None:
    target = tmp_path / "target.mp4"
    target.write_bytes(write_video(numbered_pictures(3)))
    with pytest.raises(InvalidFile, match="cannot be opened"):
        open_video(f"ffconcat version 1.0\nfile '{target}'\n".encode())


@pytest.mark.parametrize("cover", [False, True])
def test_audio_without_video_is_refused(cover: bool) -> None:
    with pytest.raises(InvalidFile, match="no video stream"):
        open_video(write_video([], audio_s=1, cover=cover))


def test_an_unknown_or_encrypted_codec_is_refused() -> None:
    content = write_video(numbered_pictures(3))
    for tag in (b"encv", b"zzzz"):
        with pytest.raises(InvalidFile, match="encrypted or in a codec"):
            open_video(content.replace(b"avc1", tag))


def test_a_video_without_decodable_frames_is_refused() -> None:
    content = write_video(numbered_pictures(5), container="mov", codec="mjpeg", pix_fmt="yuvj420p")
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    garbage = content[:start] + b"\x55" * (end - start) + content[end:]
    with open_video(garbage) as video, pytest.raises(InvalidFile, match="No frame of the video can be decoded"):
        list(video.decode([0, 3]))


FURTHER: dict[str, dict[str, Any]] = {
    "ts h264": {"container": "mpegts", "codec_options": SHORT_GOP},
    "ts hevc": {"container": "mpegts", "codec": "libx265"},
    "ts of Blu-ray": {"container": "mpegts", "container_options": {"mpegts_m2ts_mode": "1"}},
    "mpg mpeg1": {"container": "mpeg", "codec": "mpeg1video", "codec_options": {"bf": "2"}},
    "mpg mpeg2": {"container": "vob", "codec": "mpeg2video", "codec_options": {"bf": "2", "g": "8"}},
    "wmv": {"container": "asf", "codec": "wmv2", "codec_options": {"g": "8"}},
    "asf h264": {"container": "asf", "codec_options": SHORT_GOP},
    "flv": {"container": "flv", "codec": "flv", "codec_options": {"g": "8"}},
    "flv h264": {"container": "flv", "codec_options": SHORT_GOP},
    "3gp": {"container": "3gp", "codec": "mpeg4"},
    "webm of a browser": {"container": "webm", "codec": "libvpx", "container_options": {"live": "1"}},
}
"""Each with the options of `write_video`."""


@pytest.mark.parametrize("name", FURTHER)
def test_each_number_gives_its_own_frame_in_further_formats(name: str) -> None:
    content = write_video(numbered_pictures(40), **FURTHER[name])
    if name == "webm of a browser":
        content = with_unknown_cluster_sizes(as_media(content)).tobytes()
    times_s = [Fraction(number, 30) for number in range(40)]
    assert_each_number_gives_its_frame(content, times_s, tolerance_s=0.001)


@pytest.mark.parametrize("name", ["ts h264", "mpg mpeg2"])
def test_a_recording_that_begins_between_keyframes_has_the_frames_from_the_first_one_on(name: str) -> None:
    content = write_video(numbered_pictures(40, 320, 240), **FURTHER[name])
    packet_bytes = 188 if name == "ts h264" else 2048
    tables = content[: 3 * packet_bytes] if name == "ts h264" else b""
    with open_video(tables + content[len(content) // 3 // packet_bytes * packet_bytes :]) as video:
        numbers = [read_number(display_pixels(frame, None, 1000)) for _, frame in video.decode(range(len(video.times)))]
        assert video.timestamp_s(0) == pytest.approx(0, abs=0.3)
    assert numbers == list(range(40 - len(numbers), 40))
    assert 8 <= len(numbers) <= 32


def test_the_clock_of_a_transport_stream_starts_with_its_first_track() -> None:
    later = {"output_ts_offset": "3600"}
    content = write_video(
        numbered_pictures(30), container="mpegts", codec_options=SHORT_GOP, container_options=later, audio_s=1
    )
    with open_video(content) as video, av.open(io.BytesIO(content), "r") as container:
        assert container.start_time > 3_000_000_000
        late_s = float(container.streams.video[0].start_time * container.streams.video[0].time_base) - (
            container.start_time / 1e6
        )
        assert video.timestamp_s(0) == pytest.approx(late_s, abs=0.001)
        assert 0 < late_s < 0.1
        assert video.number_at(video.timestamp_s(7)) == 7


def test_a_start_after_eleven_days_is_a_wrong_timestamp() -> None:
    """A writer of FLV stored the encoder's delay, a time before 0, as a number without a sign."""
    content = bytearray(encode_video(sweep(1, 22_050), 22_050, "flv", "aac", video_codec="flv").tobytes())
    # The first tag of sound has no sound, but its configuration.
    _, first, *_ = (start for kind, start, _ in flv.tags(memoryview(content)) if kind == flv.AUDIO)
    content[first - 7 : first - 3] = b"\xff\xff\xd2\x7f"
    with open_video(bytes(content)) as video:
        assert video.timestamp_s(0) == 0
        assert video.end_s == pytest.approx(1, abs=0.1)


def test_a_video_with_too_many_pixels_is_refused() -> None:
    content = write_video(numbered_pictures(2))
    with pytest.raises(InvalidFile, match="96 x 64 pixels"):
        open_video(content, max_pixels=96 * 64 - 1)
    with open_video(content, max_pixels=96 * 64) as video:
        assert len(dict(video.decode([0, 1]))) == 2


def test_a_missed_deadline_reports_the_number_of_decoded_frames() -> None:
    content = write_video(numbered_pictures(60))
    cancellation = Cancellation(time.time() + 20)
    with Video(MediaReader(as_media(content)), 10**7, cancellation) as video:
        frames = video.decode([0, 1, 50])
        next(frames)
        next(frames)
        cancellation.deadline = 0
        with pytest.raises(DeadlineExceeded, match="^2 of 3 frames were decoded$"):
            next(frames)


def test_opening_a_video_stops_when_it_is_cancelled() -> None:
    cancellation = Cancellation(time.time() + 20)
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        Video(MediaReader(as_media(write_video(numbered_pictures(60)))), 10**7, cancellation)
