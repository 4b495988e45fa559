"""Chooses frames of a video at equal time intervals."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction


def uniform_frames(
    times: Sequence[int], duration: int | Fraction, num_frames: int, tolerance: Fraction = Fraction(0)
) -> list[int]:
    """Return the numbers of the frames on screen at times `k * duration / num_frames`, ascending, without duplicates.

    `times` are the presentation times of all frames, ascending from 0. They, `duration` and `tolerance` have the same
    unit. A frame that appears up to `tolerance` late still counts as on screen, because containers round times.

    There are fewer than `num_frames` results if the video has fewer frames, or if one frame is on screen at several of
    these times.
    """
    if len(times) <= num_frames:
        return list(range(len(times)))
    sample_times = (Fraction(k * duration, num_frames) + tolerance for k in range(num_frames))
    return list(dict.fromkeys(bisect_right(times, time) - 1 for time in sample_times))
