"""Chooses frames that show visually distinct scenes, by comparing thumbnails of a limited number of frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from deployments.frame_sampler.display import display_pixels
from deployments.frame_sampler.uniform import uniform_frames
from deployments.frame_sampler.video import Video

Thumbnail = NDArray[np.float32]
"""Shape (height, width, 3), RGB, 0 to 255."""

MAX_COMPARED_FRAMES = 360
"""Two per second for three minutes."""
MAX_DECODED_PIXELS = 4e9
"""Limit for all frames that are decoded for the comparison: about 2000 of 1920 x 1080."""
MIN_DIFFERENCE = 6.0
MIN_RELATIVE_DIFFERENCE = 0.4
"""Two thumbnails are distinct if their root mean square difference exceeds MIN_DIFFERENCE (values are 0 to 255) and
this fraction of their contrast.

Camera shake, a moving mouse pointer and moving lips stay below 0.3 of the contrast. Two slides of one deck differ by
0.5 to 1, unrelated images by 1.4 (the square root of 2 is expected for independent ones), even if they are dark.
"""

_THUMBNAIL_SIDE_PX = 16
_MAX_STILL_CHANGE = 5.0
"""Difference per second below which a shot counts as still. A three-second fade changes four times as fast."""
_MIN_STILL_S = 0.25
_MAX_BLEND_DETOUR = 1.15
"""A blend of two images lies between them: the differences to both add up to at most this much more than the difference
of the two."""
_MAX_BLANK_CONTRAST = 4.0
_BLANK_LEVELS = (24.0, 231.0)
"""A thumbnail without contrast is black if its mean value is below the first, and white above the second."""


@dataclass(frozen=True)
class _Shot:
    """Consecutive thumbnails without a large change."""

    representative: int
    """Index of the thumbnail that stands for the shot."""
    duration_s: float
    is_still: bool
    """Whether nothing moves for at least a moment of it."""


@dataclass(frozen=True)
class ComparedFrames:
    """Thumbnails of frames all over a video."""

    numbers: list[int]
    """Of the n frames, ascending."""
    thumbnails: NDArray[np.float32]
    """Shape (n, height, width, 3), RGB, 0 to 255."""
    times_s: list[float]
    """Of the n frames, and the end of the video."""


def compare_frames(video: Video) -> ComparedFrames:
    """Return thumbnails of up to 360 frames at equal intervals; of a short video, of all its frames.

    If that meant decoding more than 4 billion pixels, they are of keyframes only. Encoders place one at each cut, or
    every one to ten seconds.
    """
    thumbnails = _thumbnails(video, _frames_to_compare(video))
    numbers = sorted(thumbnails)
    return ComparedFrames(
        numbers,
        np.stack([thumbnails[number] for number in numbers]),
        [*(video.timestamp_s(number) for number in numbers), video.end_s],
    )


def _thumbnails(video: Video, numbers: Sequence[int]) -> dict[int, Thumbnail]:
    """Return thumbnails by the numbers of their frames, without those that cannot be decoded."""
    size = (_THUMBNAIL_SIDE_PX, _THUMBNAIL_SIDE_PX)
    thumbnails: dict[int, Thumbnail] = {}
    for number, frame in video.decode(numbers, "frames were compared"):
        pixels = display_pixels(frame, video.pixel_aspect, 4 * _THUMBNAIL_SIDE_PX)
        thumbnails[number] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return thumbnails


def distinct_frames(compared: ComparedFrames, num_frames: int) -> list[int]:
    """Return the numbers of 1 to `num_frames` frames, ascending, each from a different scene.

    A scene is found if one of its frames was compared: if it lasts at least 1/360 of the video, which is half a second
    in three minutes.
    """
    return [compared.numbers[index] for index in choose_scenes(compared.thumbnails, compared.times_s, num_frames)]


def cuts(video: Video, compared: ComparedFrames) -> list[int]:
    """Return the numbers of the frames with which a shot begins, ascending, without the first shot's.

    A cut is between two compared frames in succession that are distinct. All frames between them are decoded to find it
    to the frame; from MAX_DECODED_PIXELS on, a cut is where the second of the two frames is. A fade counts as a cut
    where it changes most.
    """
    room = MAX_DECODED_PIXELS
    found = []
    for index in range(1, len(compared.numbers)):
        if not _are_distinct(compared.thumbnails[index - 1], compared.thumbnails[index]):
            continue
        first, last = compared.numbers[index - 1 : index + 1]
        between = range(first, last + 1)
        room -= video.num_frames_to_decode(between) * video.num_pixels
        if len(between) > 2 and room > 0:
            thumbnails = sorted(_thumbnails(video, between).items())
            steps = [(_difference(before, after), number) for (_, before), (number, after) in pairwise(thumbnails)]
            last = max(steps, default=(0.0, last))[1]
        found.append(last)
    return found


def _frames_to_compare(video: Video) -> list[int]:
    frame_numbers = uniform_frames(video.times, video.duration, MAX_COMPARED_FRAMES)
    keyframes = video.keyframes()
    if not keyframes or video.num_frames_to_decode(frame_numbers) * video.num_pixels <= MAX_DECODED_PIXELS:
        return frame_numbers
    last_keyframes = np.searchsorted(keyframes, frame_numbers, side="right") - 1
    return sorted({keyframes[index] for index in last_keyframes if index >= 0}) or frame_numbers


def choose_scenes(thumbnails: NDArray[np.float32], times_s: Sequence[float], num_frames: int) -> list[int]:
    """Return the indices of 1 to `num_frames` thumbnails that show distinct scenes, ascending.

    `thumbnails` has shape (n, height, width, 3), n >= 1, values 0 to 255; `times_s` are their n timestamps and the end
    of the video. A scene that appears again is the same scene, represented by its first appearance. Fades and dissolves
    are not scenes, nor are short black or white frames between shots. If there are more scenes than `num_frames`, the
    one with the longest total time is chosen first, then repeatedly the one that differs most from all chosen ones.
    """
    shots = _split_into_shots(thumbnails, times_s)
    candidates = [shot for shot in _without_blends(shots, thumbnails) if not _is_brief_blank(shot, thumbnails)]
    if not candidates:
        candidates = [max(shots, key=lambda shot: shot.duration_s)]
    total_s: dict[_Shot, float] = {}
    """Of each scene, by its first shot."""
    for shot in candidates:
        thumbnail = thumbnails[shot.representative]
        same_scene = (scene for scene in total_s if not _are_distinct(thumbnails[scene.representative], thumbnail))
        scene = next(same_scene, shot)
        total_s[scene] = total_s.get(scene, 0.0) + shot.duration_s
    chosen = [max(total_s, key=lambda scene: total_s[scene])]
    while len(chosen) < min(num_frames, len(total_s)):
        remaining = [scene for scene in total_s if scene not in chosen]
        chosen.append(max(remaining, key=lambda scene: min(_distance(thumbnails, scene, other) for other in chosen)))
    return sorted(scene.representative for scene in chosen)


def _difference(first: Thumbnail, second: Thumbnail) -> float:
    """Return the root mean square difference."""
    return float(np.sqrt(np.mean((first - second) ** 2)))


def _are_distinct(first: Thumbnail, second: Thumbnail) -> bool:
    contrast = np.sqrt((_contrast(first) ** 2 + _contrast(second) ** 2) / 2)
    return bool(_difference(first, second) > max(MIN_DIFFERENCE, MIN_RELATIVE_DIFFERENCE * contrast))


def _contrast(thumbnail: Thumbnail) -> float:
    """Return the root mean square difference from the mean colour."""
    return _difference(thumbnail, thumbnail.mean(axis=(0, 1)))


def _distance(thumbnails: NDArray[np.float32], first: _Shot, second: _Shot) -> float:
    return _difference(thumbnails[first.representative], thumbnails[second.representative])


def _split_into_shots(thumbnails: NDArray[np.float32], times_s: Sequence[float]) -> list[_Shot]:
    """Start a new shot at each thumbnail that is distinct from the first of the current shot.

    Comparing with the first, not the previous one, also splits shots that change slowly.
    """
    starts = [0]
    for index in range(1, len(thumbnails)):
        if _are_distinct(thumbnails[starts[-1]], thumbnails[index]):
            starts.append(index)
    steps = [_difference(first, second) for first, second in zip(thumbnails, thumbnails[1:], strict=False)]
    changes = np.maximum([0.0, *steps], [*steps, 0.0])
    return [
        _make_shot(start, stop, thumbnails, times_s, changes)
        for start, stop in zip(starts, [*starts[1:], len(thumbnails)], strict=True)
    ]


def _make_shot(
    start: int,
    stop: int,
    thumbnails: NDArray[np.float32],
    times_s: Sequence[float],
    changes: NDArray[np.float64],
) -> _Shot:
    """Return the shot of thumbnails `start` to `stop` (exclusive).

    Its representative differs little from the thumbnails before and after it (`changes` has the larger difference of
    each thumbnail) and is close to the shot's median. Of about equally good thumbnails, it is the one nearest to the
    middle.
    """
    median = np.median(thumbnails[start:stop], axis=0)
    costs = [changes[index] + _difference(thumbnails[index], median) for index in range(start, stop)]
    middle = (stop - start - 1) / 2
    best = min((abs(index - middle), index) for index in range(stop - start) if costs[index] <= min(costs) + 0.5)[1]
    min_span_s = min(_MIN_STILL_S, times_s[stop - 1] - times_s[start])
    is_still = False
    for first in range(start, stop):
        second = next((i for i in range(first + 1, stop) if times_s[i] - times_s[first] >= min_span_s), None)
        if second is None:
            break
        max_change = _MAX_STILL_CHANGE * (times_s[second] - times_s[first])
        is_still |= _difference(thumbnails[first], thumbnails[second]) <= max_change
    return _Shot(start + best, times_s[stop] - times_s[start], is_still)


def _without_blends(shots: Sequence[_Shot], thumbnails: NDArray[np.float32]) -> list[_Shot]:
    """Drop the shots of fades and dissolves: those that move and are a blend of the shots before and after them."""
    kept = [shots[0]]
    for shot, following in zip(shots[1:], shots[2:], strict=False):
        direct = _distance(thumbnails, kept[-1], following)
        detour = _distance(thumbnails, kept[-1], shot) + _distance(thumbnails, shot, following)
        if shot.is_still or detour > _MAX_BLEND_DETOUR * direct:
            kept.append(shot)
    return kept + list(shots[1:][-1:])


def _is_brief_blank(shot: _Shot, thumbnails: NDArray[np.float32]) -> bool:
    """Return whether a shot is a moment of black or white."""
    thumbnail = thumbnails[shot.representative]
    black, white = _BLANK_LEVELS
    is_blank = _contrast(thumbnail) < _MAX_BLANK_CONTRAST and not black <= thumbnail.mean() <= white
    return bool(is_blank and (not shot.is_still or shot.duration_s < _MIN_STILL_S))
