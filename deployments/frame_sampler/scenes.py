"""Which frames of a video show visually distinct scenes, judged on thumbnails of a bounded number of frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.frame_sampler.picture import displayed_pixels
from deployments.frame_sampler.sampling import uniform_frames
from deployments.frame_sampler.video import Video

Thumbnail = NDArray[np.float32]

MAX_SCANNED = 360
"""Frames compared: two a second for three minutes."""
MAX_DECODED_PIXELS = 4e9
"""Of all frames decoded for the comparison: about 2000 of 1920 x 1080."""
MIN_DIFFERENCE = 6.0
MIN_RELATIVE_DIFFERENCE = 0.4
"""Pictures are distinct when they differ by more than both: levels of 255, and a share of their own contrast.

Of the contrast, a shaking hand, a moving mouse pointer and lips stay under 0.3, two slides of one deck differ by 0.5 to
1, unrelated pictures by 1.4 (two independent ones by the square root of 2), however dark they are.
"""

_SIDE_PX = 16
_STILL_RATE = 5.0
"""Distance a second under which a picture counts as held; a fade of three seconds changes four times as fast."""
_STILL_S = 0.25
_BLEND = 1.15
"""A mixture of two pictures lies between them: the detour over it is at most this much longer than the way."""
_BLANK_CONTRAST = 4.0
_BLANK_LEVELS = (24.0, 231.0)


@dataclass(frozen=True)
class _Shot:
    """A run of scanned frames with no large change."""

    representative: int
    duration_s: float
    is_still: bool


def distinct_frames(video: Video, num_frames: int) -> list[int]:
    """Return the numbers of at most `num_frames` frames, one of each distinct scene, ascending; at least one.

    Up to 360 frames at equal distances are compared, every frame of a short video: a scene is seen when it lasts 1/360
    of the video, half a second of three minutes. Where that would decode more than 4 billion pixels, only keyframes
    are compared: a scene is seen when it holds one, which encoders place at cuts or every one to ten seconds.
    """
    thumbnails: dict[int, Thumbnail] = {}
    for number, frame in video.decode(_scanned_frames(video), "pictures were compared"):
        pixels = displayed_pixels(frame, video.pixel_aspect, 4 * _SIDE_PX)
        thumbnails[number] = cv2.resize(pixels, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    numbers = sorted(thumbnails)
    times_s = [video.timestamp_s(number) for number in numbers] + [video.end_s]
    chosen = choose_scenes(np.stack([thumbnails[number] for number in numbers]), times_s, num_frames)
    return [numbers[index] for index in chosen]


def _scanned_frames(video: Video) -> list[int]:
    numbers = uniform_frames(video.times, video.duration, MAX_SCANNED)
    keyframes = video.keyframes()
    if not keyframes or video.num_decoded(numbers) * video.num_pixels <= MAX_DECODED_PIXELS:
        return numbers
    before = np.searchsorted(keyframes, numbers, side="right") - 1
    return sorted({keyframes[index] for index in before if index >= 0}) or numbers


def choose_scenes(thumbnails: NDArray[np.float32], times_s: Sequence[float], num_frames: int) -> list[int]:
    """Return the indices of at most `num_frames` thumbnails that show distinct scenes, ascending; at least one.

    `thumbnails` has shape (n, height, width, 3), n >= 1, values 0 to 255; `times_s` their n times and the video's end.
    A scene that comes back counts once, at its first time; frames in a fade or dissolve, and black or white between
    pictures, stand for no scene. Of more scenes than asked for, those farthest from each other are chosen, beginning
    with the one that is longest on screen. No two chosen ones are nearly alike (see MIN_DIFFERENCE).
    """
    shots = _split(thumbnails, times_s)
    kept = [shot for shot in _without_blends(shots, thumbnails) if not _is_brief_blank(shot, thumbnails)]
    if not kept:
        kept = [max(shots, key=lambda shot: shot.duration_s)]
    seconds: dict[_Shot, float] = {}
    for shot in kept:
        picture = thumbnails[shot.representative]
        seen = (scene for scene in seconds if not _are_distinct(thumbnails[scene.representative], picture))
        scene = next(seen, shot)
        seconds[scene] = seconds.get(scene, 0.0) + shot.duration_s
    chosen = [max(seconds, key=lambda scene: seconds[scene])]
    while len(chosen) < min(num_frames, len(seconds)):
        left = [scene for scene in seconds if scene not in chosen]
        chosen.append(max(left, key=lambda scene: min(_distance(thumbnails, scene, other) for other in chosen)))
    return sorted(scene.representative for scene in chosen)


def _difference(first: Thumbnail, second: Thumbnail) -> float:
    return float(np.sqrt(np.mean((first - second) ** 2)))


def _are_distinct(first: Thumbnail, second: Thumbnail) -> bool:
    contrast = np.sqrt((_contrast(first) ** 2 + _contrast(second) ** 2) / 2)
    return bool(_difference(first, second) > max(MIN_DIFFERENCE, MIN_RELATIVE_DIFFERENCE * contrast))


def _contrast(picture: Thumbnail) -> float:
    """Return how far a picture is from one plain color, root mean square."""
    return _difference(picture, picture.mean(axis=(0, 1)))


def _distance(thumbnails: NDArray[np.float32], first: _Shot, second: _Shot) -> float:
    return _difference(thumbnails[first.representative], thumbnails[second.representative])


def _split(thumbnails: NDArray[np.float32], times_s: Sequence[float]) -> list[_Shot]:
    """Cut where the picture has moved away from the one that began the shot, at once or little by little."""
    starts = [0]
    for index in range(1, len(thumbnails)):
        if _are_distinct(thumbnails[starts[-1]], thumbnails[index]):
            starts.append(index)
    steps = [_difference(first, second) for first, second in zip(thumbnails, thumbnails[1:], strict=False)]
    change = np.maximum([0.0, *steps], [*steps, 0.0])
    return [
        _shot(start, stop, thumbnails, times_s, change)
        for start, stop in zip(starts, [*starts[1:], len(thumbnails)], strict=True)
    ]


def _shot(
    start: int,
    stop: int,
    thumbnails: NDArray[np.float32],
    times_s: Sequence[float],
    change: NDArray[np.float64],
) -> _Shot:
    """Describe frames `start` to `stop`; the stillest and most usual one nearest to the middle represents them."""
    usual = np.median(thumbnails[start:stop], axis=0)
    cost = [change[index] + _difference(thumbnails[index], usual) for index in range(start, stop)]
    middle = (stop - start - 1) / 2
    nearest = min((abs(index - middle), index) for index in range(stop - start) if cost[index] <= min(cost) + 0.5)[1]
    span_s = min(_STILL_S, times_s[stop - 1] - times_s[start])
    is_still = False
    for first in range(start, stop):
        second = next((index for index in range(first + 1, stop) if times_s[index] - times_s[first] >= span_s), None)
        if second is None:
            break
        seconds = times_s[second] - times_s[first]
        is_still |= _difference(thumbnails[first], thumbnails[second]) <= _STILL_RATE * seconds
    return _Shot(start + nearest, times_s[stop] - times_s[start], is_still)


def _without_blends(shots: Sequence[_Shot], thumbnails: NDArray[np.float32]) -> list[_Shot]:
    """Leave out moving shots that are a mixture of the pictures before and after them."""
    kept = [shots[0]]
    for shot, following in zip(shots[1:], shots[2:], strict=False):
        way = _distance(thumbnails, kept[-1], following)
        detour = _distance(thumbnails, kept[-1], shot) + _distance(thumbnails, shot, following)
        if shot.is_still or detour > _BLEND * way:
            kept.append(shot)
    return kept + list(shots[1:][-1:])


def _is_brief_blank(shot: _Shot, thumbnails: NDArray[np.float32]) -> bool:
    picture = thumbnails[shot.representative]
    dark, light = _BLANK_LEVELS
    is_blank = _contrast(picture) < _BLANK_CONTRAST and not dark <= picture.mean() <= light
    return bool(is_blank and (not shot.is_still or shot.duration_s < _STILL_S))
