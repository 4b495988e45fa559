"""Puts the fragments of text that were found in a picture into lines, and the lines into reading order.

Detection gives one box for each stretch of text, so a row of a receipt is two: the item and its price. Fragments of one
row become one line, unless a gutter between columns of running text is between them; such columns are read one after
the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deployments.places import Box

MIN_COLUMN_ROWS = 3
"""A column of running text has at least so many rows,"""
MIN_COLUMN_CHARACTERS = 12
"""of at least so many characters at the median,"""
MIN_COLUMN_FILL = 0.5
"""that are at the median at least so wide in relation to the column."""
GUTTER_TOLERANCE = 0.5
"""By so much of its height a fragment may reach into the other column."""
SAME_ROW_OVERLAP = 0.5
"""Fragments are in one row if they overlap vertically by so much of the lower one's height."""


@dataclass(frozen=True)
class Fragment:
    """A stretch of text that was detected as a whole."""

    text: str
    confidence: float
    box: Box
    """In pixels, from the top left, as the picture is."""
    rectangle: Box
    """The same with the skew of the page taken away, on which the order is based."""
    words: tuple[Box, ...] = ()
    """Where each word of the text is, as `box`."""

    @property
    def left(self) -> float:
        return self.rectangle[0]

    @property
    def top(self) -> float:
        return self.rectangle[1]

    @property
    def right(self) -> float:
        return self.rectangle[2]

    @property
    def bottom(self) -> float:
        return self.rectangle[3]

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def order_lines(fragments: Sequence[Fragment]) -> list[Fragment]:
    """Return the lines of a picture in reading order; a line is a fragment, or several of one row put together."""
    gutter = _find_gutter(fragments)
    if gutter is None:
        return _joined_rows(fragments)
    lines: list[Fragment] = []
    without_columns: list[Fragment] = []
    for band in _bands(fragments, gutter):
        if band.has_columns:
            lines += _joined_rows(without_columns)
            without_columns = []
            lines += order_lines(band.left) + order_lines(band.right)
        else:
            without_columns += band.all
    return lines + _joined_rows(without_columns)


@dataclass(frozen=True)
class _Band:
    """The part of a picture between two fragments that run across a gutter, or such a fragment alone."""

    left: list[Fragment]
    right: list[Fragment]
    crossing: list[Fragment]

    @property
    def all(self) -> list[Fragment]:
        return [*self.left, *self.crossing, *self.right]

    @cached_property
    def has_columns(self) -> bool:
        return _is_running_text(self.left) and _is_running_text(self.right)


def _find_gutter(fragments: Sequence[Fragment]) -> float | None:
    """Return where the gutter with most columns of running text at its sides is, or None."""
    best_gutter, best_width = None, 0.0
    # A gutter has the left edge of a column at its right.
    for gutter in sorted({round(fragment.left) for fragment in fragments}):
        bands = [band for band in _bands(fragments, gutter) if band.has_columns]
        width = sum(fragment.width for band in bands for fragment in band.all)
        if width > best_width:
            best_gutter, best_width = gutter, width
    return best_gutter


def _bands(fragments: Sequence[Fragment], gutter: float) -> list[_Band]:
    """Return the bands of a picture from top to bottom."""
    bands: list[_Band] = []
    left: list[Fragment] = []
    right: list[Fragment] = []
    for fragment in sorted(fragments, key=lambda fragment: fragment.middle):
        tolerance = GUTTER_TOLERANCE * fragment.height
        if fragment.left < gutter - tolerance and fragment.right > gutter + tolerance:
            bands += [_Band(left, right, []), _Band([], [], [fragment])]
            left, right = [], []
        elif fragment.left + fragment.right < 2 * gutter:
            left.append(fragment)
        else:
            right.append(fragment)
    return [*bands, _Band(left, right, [])]


def _is_running_text(fragments: Sequence[Fragment]) -> bool:
    rows = _rows(fragments)
    if len(rows) < MIN_COLUMN_ROWS:
        return False
    column_width = max(fragment.right for fragment in fragments) - min(fragment.left for fragment in fragments)
    widths = [sum(fragment.width for fragment in row) for row in rows]
    characters = [sum(len(fragment.text) for fragment in row) for row in rows]
    return bool(np.median(characters) >= MIN_COLUMN_CHARACTERS and np.median(widths) >= MIN_COLUMN_FILL * column_width)


def _joined_rows(fragments: Sequence[Fragment]) -> list[Fragment]:
    return [_joined(row) for row in _rows(fragments)]


def _rows(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Return the rows from top to bottom, each from left to right."""
    rows: list[list[Fragment]] = []
    for fragment in sorted(fragments, key=lambda fragment: fragment.middle):
        if rows and all(_is_in_row(fragment, other) for other in rows[-1]):
            rows[-1].append(fragment)
        else:
            rows.append([fragment])
    return [sorted(row, key=lambda fragment: fragment.left) for row in rows]


def _is_in_row(fragment: Fragment, other: Fragment) -> bool:
    overlap = min(fragment.bottom, other.bottom) - max(fragment.top, other.top)
    return overlap > SAME_ROW_OVERLAP * min(fragment.height, other.height)


def _joined(row: Sequence[Fragment]) -> Fragment:
    lengths = [len(fragment.text) for fragment in row]
    return Fragment(
        text=" ".join(fragment.text.strip() for fragment in row),
        confidence=float(np.average([fragment.confidence for fragment in row], weights=lengths)),
        box=_union([fragment.box for fragment in row]),
        rectangle=_union([fragment.rectangle for fragment in row]),
        words=tuple(word for fragment in row for word in fragment.words),
    )


def _union(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
