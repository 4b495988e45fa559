"""Which frames of a video to take at equal distances: pure policy."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction


def uniform_frames(
    times: Sequence[int], duration: int | Fraction, num_frames: int, tolerance: Fraction = Fraction(0)
) -> list[int]:
    """Return the numbers of the frames on screen at `k * duration / num_frames`, ascending, each once.

    `times` are the frames' presentation times, ascending from 0, `duration` the video's, both in one unit of any size.
    A frame that appears up to `tolerance` after the instant counts as on screen: containers round their times. No more
    frames than asked for gives all of them; a frame held over several instants gives fewer than asked for.
    """
    if len(times) <= num_frames:
        return list(range(len(times)))
    instants = (Fraction(k * duration, num_frames) + tolerance for k in range(num_frames))
    return list(dict.fromkeys(bisect_right(times, instant) - 1 for instant in instants))
