import time
from fractions import Fraction

import numpy as np
import pytest

from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded, InvalidFile
from deployments.frame_sampler.sampler import sample_video
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import FrameSampling, SampledVideo, SampleTask
from deployments.media import as_media
from tests.videos import numbered_picture, numbered_pictures, plain_picture, read_number, write_video


def sampled(
    content: bytes, num_frames: int = 5, sampling: FrameSampling = "uniform", max_frame_side_px: int = 756
) -> SampledVideo:
    config = FrameSamplerConfig(max_frame_side_px=max_frame_side_px)
    return sample_video(as_media(content), SampleTask(num_frames, sampling), config, Cancellation(time.time() + 20))


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "avi"])
def test_the_prd_example_gives_the_documented_frames(container: str) -> None:
    video = sampled(write_video(numbered_pictures(915), container=container))
    assert [frame.frame_number for frame in video.frames] == [0, 183, 366, 549, 732]
    assert [frame.timestamp_s for frame in video.frames] == pytest.approx([0.0, 6.1, 12.2, 18.3, 24.4])
    assert [read_number(frame.pixels) for frame in video.frames] == [0, 183, 366, 549, 732]
    assert video.properties.duration_s == pytest.approx(30.5)
    assert video.properties.fps == pytest.approx(30)
    assert video.properties.total_frames == 915
    assert (video.properties.width, video.properties.height) == (96, 64)


def test_frames_of_a_variable_frame_rate_are_those_on_screen() -> None:
    times_s = [Fraction(time_ms, 1000) for time_ms in (0, 100, 900, 1000, 1900, 2000, 4000, 4100)]
    video = sampled(write_video(numbered_pictures(8), times_s=times_s), num_frames=3)
    assert [(frame.frame_number, frame.timestamp_s) for frame in video.frames] == [(0, 0.0), (3, 1.0), (5, 2.0)]
    assert [read_number(frame.pixels) for frame in video.frames] == [0, 3, 5]
    assert video.properties.fps == pytest.approx(8 / 4.2)


def test_times_rounded_to_milliseconds_do_not_change_the_frames() -> None:
    video = sampled(write_video(numbered_pictures(90), container="matroska"), num_frames=9)
    assert [frame.frame_number for frame in video.frames] == list(range(0, 90, 10))


def test_a_video_with_fewer_frames_than_requested_gives_each_frame_once() -> None:
    assert [frame.frame_number for frame in sampled(write_video(numbered_pictures(3)), 32).frames] == [0, 1, 2]
    assert [frame.frame_number for frame in sampled(write_video(numbered_pictures(1)), 32).frames] == [0]


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_frames_are_rotated_as_in_a_player(rotation: int, hflip: bool) -> None:
    """The stored picture is rotated back, as by a camera held on its side."""
    displayed = numbered_picture(42, 64, 96) if rotation in (90, 270) else numbered_picture(42, 96, 64)
    stored = np.rot90(displayed[:, ::-1] if hflip else displayed, -rotation // 90)
    video = sampled(write_video([np.ascontiguousarray(stored)], rotation=rotation, hflip=hflip))
    assert video.frames[0].pixels.shape == displayed.shape
    assert read_number(video.frames[0].pixels) == 42
    assert (video.properties.height, video.properties.width) == displayed.shape[:2]


@pytest.mark.parametrize(("pixel_aspect", "size"), [(Fraction(2), (192, 64)), (Fraction(1, 2), (96, 128))])
@pytest.mark.parametrize("rotation", [0, 90])
def test_non_square_pixels_are_made_square(pixel_aspect: Fraction, size: tuple[int, int], rotation: int) -> None:
    video = sampled(write_video([numbered_picture(3)], pixel_aspect=pixel_aspect, rotation=rotation))
    displayed = (video.properties.width, video.properties.height)
    assert displayed == (size if rotation == 0 else size[::-1])
    assert video.frames[0].pixels.shape == (displayed[1], displayed[0], 3)


def test_large_frames_are_scaled_down_and_the_metadata_has_the_original_size() -> None:
    video = sampled(write_video([numbered_picture(5, 320, 240)]), max_frame_side_px=160)
    assert video.frames[0].pixels.shape == (120, 160, 3)
    assert read_number(video.frames[0].pixels) == 5
    assert (video.properties.width, video.properties.height) == (320, 240)


def test_pixels_are_rgb() -> None:
    video = sampled(write_video([plain_picture((220, 40, 90))]))
    pixels = video.frames[0].pixels
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.mean(axis=(0, 1)) - (220, 40, 90)).max() < 6


@pytest.mark.parametrize("matrix", ["GBR", "bt709", "bt2020nc", "YCgCo", "bt2020c", "chroma-derived-nc", "ICtCp"])
def test_any_colour_matrix_gives_a_recognizable_image(matrix: str) -> None:
    options = {"x264-params": f"colormatrix={matrix}:transfer=arib-std-b67:colorprim=bt2020"}
    assert read_number(sampled(write_video([numbered_picture(9)], codec_options=options)).frames[0].pixels) == 9


def test_keyframes_have_their_numbers_and_timestamps() -> None:
    pictures = [numbered_picture(0)] * 15 + [numbered_picture(99)] * 20
    video = sampled(write_video(pictures), sampling="keyframes")
    assert [read_number(frame.pixels) for frame in video.frames] == [0, 99]
    for frame in video.frames:
        assert frame.timestamp_s == pytest.approx(frame.frame_number / 30)


def test_the_result_says_whether_there_is_audio() -> None:
    assert sampled(write_video(numbered_pictures(5), audio_s=0.5)).has_audio
    assert not sampled(write_video(numbered_pictures(5))).has_audio


@pytest.mark.parametrize("sampling", ["uniform", "keyframes"])
def test_frames_of_different_sizes_keep_their_sizes(sampling: FrameSampling) -> None:
    """An AVI whose last picture is larger than the header says."""
    small = write_video(numbered_pictures(6), container="avi", codec="mjpeg", pix_fmt="yuvj420p")
    large = write_video([numbered_picture(6, 192, 128)], container="avi", codec="mjpeg", pix_fmt="yuvj420p")
    start = large.index(b"\xff\xd8\xff")
    picture = large[start : large.index(b"idx1")]
    last = small.rindex(b"\xff\xd8\xff")
    content = small[: last - 4] + len(picture).to_bytes(4, "little") + picture
    frames = {frame.frame_number: frame.pixels for frame in sampled(content, 6, sampling).frames}
    assert frames[5].shape == (128, 192, 3)
    assert read_number(frames[5]) == 6


def test_work_stops_at_the_deadline() -> None:
    content = write_video(numbered_pictures(30))
    with pytest.raises(DeadlineExceeded, match="counted"):
        sample_video(as_media(content), SampleTask(5, "keyframes"), FrameSamplerConfig(), Cancellation(time.time() - 1))


def test_content_that_is_not_a_video_is_refused() -> None:
    with pytest.raises(InvalidFile):
        sampled(b"this is no video" * 100)
