"""Divides a sequence of sentences among chunks."""

from collections.abc import Sequence

UNEVENNESS_COST = 0.5
"""Of an empty chunk; it grows with the square of the space that is left. A chunk itself costs 1."""
BAD_CUT_COST = 0.7
"""Of a cut within a paragraph. Four paragraphs of three quarters of a chunk are so four chunks, not three that each
have parts of two."""


def pack(sizes: Sequence[int], capacity: int, good_cuts: Sequence[bool] = ()) -> list[range]:
    """Return consecutive ranges of items that fit `capacity`: few, of similar sizes, and cut at good places.

    `good_cuts` says for each place between two items whether it is one; empty means that all are alike. An item that is
    larger than `capacity` is alone.
    """
    best: list[tuple[float, int]] = [(0.0, 0)]
    """For each number of items, the lowest cost of packing them, and where the last of these ranges starts."""
    for end in range(1, len(sizes) + 1):
        options = []
        total = 0
        for start in reversed(range(end)):
            total += sizes[start]
            if total > capacity and start < end - 1:
                break
            space = max(0, capacity - total) / capacity
            is_bad_cut = start > 0 and bool(good_cuts) and not good_cuts[start - 1]
            cost = best[start][0] + 1 + UNEVENNESS_COST * space**2 + BAD_CUT_COST * is_bad_cut
            options.append((cost, start))
        best.append(min(options))
    ranges: list[range] = []
    end = len(sizes)
    while end:
        start = best[end][1]
        ranges.insert(0, range(start, end))
        end = start
    return ranges


def pack_early(sizes: Sequence[int], capacity: int, enough: int) -> list[range]:
    """Return consecutive ranges of items; each ends once it has `enough`, or before it exceeds `capacity`."""
    ranges: list[range] = []
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (total + size > capacity or total >= enough):
            ranges.append(range(start, index))
            start, total = index, 0
        total += size
    return [*ranges, range(start, len(sizes))] if sizes else []
