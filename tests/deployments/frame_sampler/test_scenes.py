import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.cancellation import Cancellation
from deployments.frame_sampler import scenes
from deployments.frame_sampler.scenes import MAX_COMPARED_FRAMES, compare_frames, cuts, distinct_frames
from deployments.frame_sampler.video import Video
from deployments.media import MediaReader, Pixels, as_media
from tests.videos import plain_picture, write_video

COLOURS = [(200, 30, 30), (30, 160, 40), (40, 40, 200), (128, 128, 128), (220, 220, 40), (30, 180, 190)]


def landscape(seed: int, width: int = 192, height: int = 96) -> Pixels:
    """Return a picture with coarse and fine structure, as in a photograph."""
    generator = np.random.default_rng(seed)
    layers = [
        cv2.resize(generator.random((rows, 2 * rows, 3)), (width, height), interpolation=cv2.INTER_CUBIC) * weight
        for rows, weight in [(3, 1.0), (8, 0.6), (30, 0.3)]
    ]
    total: NDArray[np.float64] = np.sum(layers, axis=0)
    return np.asarray((total - total.min()) / (total.max() - total.min()) * 255, dtype=np.uint8)


def chosen_frames(
    pictures: list[Pixels], num_frames: int, container: str = "mp4", codec: str = "libx264", gop: int = 250
) -> list[int]:
    content = write_video(pictures, container=container, codec=codec, codec_options={"g": str(gop)})
    with Video(MediaReader(as_media(content)), 10**7, Cancellation(time.time() + 20)) as video:
        return distinct_frames(compare_frames(video), num_frames)


def dissolve(first: Pixels, second: Pixels, count: int) -> list[Pixels]:
    return [np.asarray(cv2.addWeighted(first, 1 - k / count, second, k / count, 0), np.uint8) for k in range(count)]


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("matroska", "libx264")])
@pytest.mark.parametrize("length", [8, 25])
def test_as_many_frames_as_scenes_gives_one_of_each_scene(container: str, codec: str, length: int) -> None:
    pictures = [picture for colour in COLOURS for picture in [plain_picture(colour)] * length]
    frames = chosen_frames(pictures, len(COLOURS), container, codec)
    assert [frame // length for frame in frames] == list(range(len(COLOURS)))


def test_short_and_long_scenes_are_all_found() -> None:
    lengths = [70, 5, 30, 8, 50]
    pictures = [landscape(seed) for seed, length in enumerate(lengths) for _ in range(length)]
    frames = chosen_frames(pictures, 5)
    ends = np.cumsum(lengths)
    assert list(np.searchsorted(ends, frames, side="right")) == [0, 1, 2, 3, 4]


def test_a_still_video_gives_one_frame() -> None:
    assert len(chosen_frames([landscape(1)] * 40, 5)) == 1


def test_noise_and_camera_shake_are_not_scenes() -> None:
    generator = np.random.default_rng(2)
    wide = landscape(3, 196, 100)
    pictures = []
    for _ in range(60):
        x, y = generator.integers(0, 5, size=2)
        noise = generator.normal(0, 12, (96, 192, 3))
        pictures.append(np.clip(wide[y : y + 96, x : x + 192] + noise, 0, 255).astype(np.uint8))
    assert len(chosen_frames(pictures, 5)) == 1


def test_the_slides_of_one_deck_are_scenes() -> None:
    generator = np.random.default_rng(4)
    pictures = []
    for _ in range(5):
        slide = plain_picture((255, 255, 255), 320, 180)
        for line in range(int(generator.integers(3, 8))):
            text = "w" * int(generator.integers(4, 24))
            cv2.putText(slide, text, (10, 30 + 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1)
        pictures += [slide] * 15
    assert [frame // 15 for frame in chosen_frames(pictures, 5)] == [0, 1, 2, 3, 4]


def test_dark_scenes_are_distinguished() -> None:
    pictures = [landscape(seed) // 6 for seed in range(4) for _ in range(15)]
    assert [frame // 15 for frame in chosen_frames(pictures, 4)] == [0, 1, 2, 3]


def test_fewer_scenes_than_requested_give_fewer_frames() -> None:
    pictures = [landscape(1)] * 30 + [landscape(2)] * 30
    assert [frame // 30 for frame in chosen_frames(pictures, 8)] == [0, 1]


def test_a_scene_that_appears_again_counts_once() -> None:
    pictures = [landscape(1)] * 20 + [landscape(2)] * 20 + [landscape(1)] * 20
    assert [frame // 20 for frame in chosen_frames(pictures, 5)] == [0, 1]


def test_of_more_scenes_than_requested_the_most_distinct_are_chosen_in_time_order() -> None:
    scenes = [(30, 30, 30), (60, 60, 60), (90, 90, 90), (240, 240, 240), (120, 120, 120)]
    pictures = [picture for colour in scenes for picture in [plain_picture(colour)] * 20] + [
        plain_picture(scenes[0])
    ] * 9
    assert [frame // 20 for frame in chosen_frames(pictures, 2)] == [0, 3]


@pytest.mark.parametrize("fade", [6, 30, 75])
def test_a_dissolve_is_not_a_scene(fade: int) -> None:
    pictures = [landscape(1)] * 30 + dissolve(landscape(1), landscape(2), fade) + [landscape(2)] * 30
    frames = chosen_frames(pictures, 8)
    assert len(frames) == 2
    assert frames[0] < 30
    assert frames[1] >= 30 + fade


def test_a_fade_through_black_is_not_a_scene() -> None:
    black = plain_picture((0, 0, 0), 192, 96)
    pictures = dissolve(black, landscape(1), 15) + [landscape(1)] * 30
    pictures += dissolve(landscape(1), black, 15) + dissolve(black, landscape(2), 15) + [landscape(2)] * 30
    frames = chosen_frames(pictures, 8)
    assert len(frames) == 2
    assert 15 <= frames[0] < 45
    assert frames[1] >= 75


def test_a_long_pan_gives_frames_of_different_places() -> None:
    panorama = landscape(5, 1400, 96)
    pictures = [np.ascontiguousarray(panorama[:, 12 * k : 12 * k + 192]) for k in range(90)]
    frames = chosen_frames(pictures, 4)
    assert len(frames) == 4
    assert min(np.diff(frames)) * 12 > 48


def test_a_long_video_is_compared_within_the_decoding_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[int] = []
    decode: Callable[..., object] = Video.decode

    def recording_decode(video: Video, frame_numbers: list[int], *arguments: str) -> object:
        requested.extend(frame_numbers)
        return decode(video, frame_numbers, *arguments)

    monkeypatch.setattr(Video, "decode", recording_decode)
    pictures = [plain_picture(colour) for colour in COLOURS[:4] for _ in range(60)]
    monkeypatch.setattr("deployments.frame_sampler.scenes.MAX_DECODED_PIXELS", 100 * 96 * 64)
    frames = chosen_frames(pictures, 4, gop=30)
    assert [frame // 60 for frame in frames] == [0, 1, 2, 3]
    assert len(requested) < 20


def cut_frames(pictures: list[Pixels], gop: int = 250) -> list[int]:
    content = write_video(pictures, codec_options={"g": str(gop)})
    with Video(MediaReader(as_media(content)), 10**7, Cancellation(time.time() + 20)) as video:
        return cuts(video, compare_frames(video))


def test_cuts_are_found_to_the_frame_although_only_some_frames_are_compared() -> None:
    lengths = [301, 500, 123, 77, 211]
    pictures = [landscape(seed) for seed, length in enumerate(lengths) for _ in range(length)]
    assert len(pictures) > 3 * MAX_COMPARED_FRAMES
    assert cut_frames(pictures) == [301, 801, 924, 1001]


def test_where_too_much_would_be_decoded_a_cut_is_at_the_next_compared_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [landscape(seed) for seed in (0, 1) for _ in range(601)]
    content = write_video(pictures)
    with Video(MediaReader(as_media(content)), 10**7, Cancellation(time.time() + 20)) as video:
        compared = compare_frames(video)
        monkeypatch.setattr(scenes, "MAX_DECODED_PIXELS", 0.0)
        [cut] = cuts(video, compared)
    assert 601 <= cut <= 605
    assert cut in compared.numbers


def test_a_video_of_one_shot_has_no_cut() -> None:
    assert cut_frames([landscape(1)] * 40) == []
    assert cut_frames([plain_picture((200, 30, 30))]) == []
