"""How the lines of a page or a picture follow each other: within a sentence, or as paragraphs, table rows, list items.

Only text and boxes are known, so these are rules of thumb. A wrong answer costs little: a chunk still holds all lines.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from deployments.indexing.joined_text import SOFT_HYPHEN
from deployments.indexing.pieces import Break
from deployments.places import Box, TextLine

SAME_ROW = 0.5
"""Two lines whose heights overlap by this fraction are in one row, such as the cells of a table."""
PARAGRAPH_GAP = 0.7
"""A gap between two lines, as a fraction of their height, that separates paragraphs. Set text has gaps up to 0.5."""
HEADING_RATIO = 1.25
"""Lines whose heights differ by this factor are not of the same paragraph."""
SHORT_LINE = 0.85
"""A line that ends before this fraction of its column's width ends its paragraph."""
VERTICAL_RATIO = 2
"""A line of several characters that is so many times higher than wide runs upwards or downwards."""
NEIGHBOURS = 5
"""Lines before and after a line that show how wide its column is."""

_ITEM = re.compile(r"([•◦▪‣●○■–—*·-]|\(?\w{1,3}[.)]) ")
_NUMBER = re.compile(r"\d")
_ENDS_SENTENCE = re.compile(r"[.!?。！？؟।]['\"”’»)\]]*$")


def separators(lines: Sequence[TextLine]) -> Iterator[tuple[str, Break]]:
    """Yield, for each line but the first, what stands before it and what ends there."""
    lines = _upright(lines)
    for index in range(1, len(lines)):
        before, line = lines[index - 1], lines[index]
        if _share_row(before.box, line.box):
            yield " ", Break.NONE
        elif _is_new_paragraph(lines, index):
            yield "\n", Break.SENTENCE
        elif before.text.endswith("-") and line.text[:1].islower():
            yield "", Break.NONE
        else:
            yield " ", Break.CLAUSE


def runs_on(before: str, text: str) -> bool:
    """Return whether a sentence goes on from the last line of a page to the first line of the next."""
    if before.endswith(SOFT_HYPHEN):
        return True
    return text[:1].islower() and not _ENDS_SENTENCE.search(before)


def _upright(lines: Sequence[TextLine]) -> Sequence[TextLine]:
    """Return the lines of a page on which most text runs upwards or downwards as if it ran from left to right."""
    num_vertical = sum(len(line.text) for line in lines if _is_vertical(line))
    if 2 * num_vertical <= sum(len(line.text) for line in lines):
        return lines
    runs_left = lines[-1].box[0] < lines[0].box[0]  # the lines follow each other from right to left
    turned = []
    for line in lines:
        x0, y0, x1, y1 = line.box
        turned.append(replace(line, box=(y0, -x1, y1, -x0) if runs_left else (y0, x0, y1, x1)))
    return turned


def _is_vertical(line: TextLine) -> bool:
    x0, y0, x1, y1 = line.box
    return len(line.text) > 3 and y1 - y0 > VERTICAL_RATIO * (x1 - x0)


def _is_new_paragraph(lines: Sequence[TextLine], index: int) -> bool:
    before, line = lines[index - 1], lines[index]
    if before.text.endswith(SOFT_HYPHEN):
        return False
    if _is_row(before.text) or _is_row(line.text) or _ITEM.match(line.text):
        return True
    if line.text[:1].islower():
        return False
    heights = sorted((_height(before.box), _height(line.box)))
    if heights[1] > HEADING_RATIO * heights[0]:
        return True
    if index > 1 and _share_row(lines[index - 2].box, before.box):
        return True
    gap = line.box[1] - before.box[3]
    is_below = line.box[1] >= before.box[1]
    return (is_below and gap > PARAGRAPH_GAP * heights[1]) or _is_short(lines, index - 1)


def _is_row(text: str) -> bool:
    """Return whether a line looks like a table's row: three words or more, at least half of them numbers."""
    words = text.split()
    return len(words) > 2 and 2 * sum(bool(_NUMBER.search(word)) for word in words) >= len(words)


def _is_short(lines: Sequence[TextLine], index: int) -> bool:
    """Return whether a line ends long before its neighbours in the same column do."""
    left, _, right, _ = lines[index].box
    column = [
        line.box
        for line in lines[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
        if line.box[0] < right and line.box[2] > left
    ]
    column_left, column_right = min(box[0] for box in column), max(box[2] for box in column)
    return right < column_left + SHORT_LINE * (column_right - column_left)


def _share_row(first: Box, second: Box) -> bool:
    overlap = min(first[3], second[3]) - max(first[1], second[1])
    is_beside = second[0] >= first[2] or second[2] <= first[0]
    return is_beside and overlap > SAME_ROW * min(_height(first), _height(second))


def _height(box: Box) -> float:
    return max(box[3] - box[1], 1e-6)
