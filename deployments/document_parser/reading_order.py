"""Puts the pieces of text on a page into lines, and the lines into reading order.

A PDF says where each piece of text is, not how to read them. So the page is cut into columns wherever the same vertical
strip stays free of text over several rows and what stands on both sides of it reads like prose. What is side by side
without being columns is a table: its row is one line.

All coordinates are in points of the upright text, y downwards.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from deployments.places import Box

CELL_SEPARATOR = "\t"
"""Between the cells of a row."""


@dataclass(frozen=True)
class Piece:
    """Text without a wide gap, on one line."""

    text: str
    box: Box
    order: int
    """Position in the file, which often is the reading order, but need not be."""
    spans: tuple[tuple[int, int], ...] = ()
    """The characters of the page that it consists of; empty if they are not among them, as in a form's field."""

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]


@dataclass(frozen=True)
class Line:
    text: str
    box: Box
    pieces: tuple[Piece, ...]
    """In the order of the text, in which white space may stand between them."""


Row = list[Piece]
"""Pieces side by side."""

_MAX_PIECES = 5_000
_MAX_COLUMN_ROWS = 400
"""No page that can be read has more. These bound the time, which grows with the product."""

# Lengths in heights of the region's lines:
_GUTTER = 0.8
"""What separates columns is at least so wide."""
_WORD_GAP = 0.1
_CELL_GAP = 1.5
"""Pieces further apart are cells of a table."""
_ROW_GAP = 0.5
"""Rows of one column are at most so far apart, unless most rows of the region are further apart."""

_MORE_THAN_USUAL = 1.3
"""How much more than the median the gap between rows of a column may be."""
_MIN_COLUMN_ROWS = 3
_FULL_LINES = 0.7
"""Share of a column's width that a line of running text fills at the median."""
_PROSE_WORDS = 3
"""Pieces of running text have at least so many words."""
_WIDE_SCRIPT_CHARS_PER_WORD = 2
"""Of Chinese, Japanese and Korean, whose words are not separated."""


def lines_in_reading_order(pieces: Sequence[Piece]) -> list[Line]:
    rows = _rows(pieces)
    if len(pieces) <= _MAX_PIECES:
        rows = _reading_order(rows)
    return [_line(row) for row in rows]


def _reading_order(rows: list[Row]) -> list[Row]:
    """Return rows that are read one after the other; those across columns are taken apart."""
    if len(rows) < _MIN_COLUMN_ROWS:
        return rows
    region = _Region(
        left=min(row[0].box[0] for row in rows),
        right=max(piece.box[2] for row in rows for piece in row),
        height=(height := median(piece.height for row in rows for piece in row)),
        max_row_gap=max(_ROW_GAP * height, _MORE_THAN_USUAL * median(map(_gap, rows, rows[1:]))),
    )
    ordered: list[Row] = []
    side_by_side: list[Row] = []
    start = 0
    while start < len(rows):
        end, gutters = _free_strips(rows, start, region)
        columns = next(filter(None, (_columns(rows[start:end], gutter, region) for gutter in gutters)), None)
        if columns is not None:
            ordered += _cell_by_cell(side_by_side, region)
            side_by_side = []
            for column in columns.in_order:
                ordered += _reading_order(_rows(column))
            start += columns.num_rows
            continue
        # Where a table has no columns of text, they cannot start within one of its rows that follow closely, either.
        next_start = start + 1
        while gutters and next_start < end and _gap(*rows[next_start - 1 : next_start + 1]) <= region.max_row_gap:
            next_start += 1
        side_by_side += rows[start:next_start]
        start = next_start
    return ordered + _cell_by_cell(side_by_side, region)


def _rows(pieces: Sequence[Piece]) -> list[Row]:
    """Return the pieces row by row, from the top, each row from the left.

    A piece belongs to a row if its middle is level with the row's first piece, and the other way round.
    """
    rows: list[Row] = []
    row_top = row_middle = row_bottom = -math.inf
    for piece in sorted(pieces, key=lambda piece: piece.box[1] + piece.box[3]):
        _, top, _, bottom = piece.box
        middle = (top + bottom) / 2
        if row_top < middle < row_bottom and top < row_middle < bottom:
            rows[-1].append(piece)
        else:
            rows.append([piece])
            row_top, row_middle, row_bottom = top, middle, bottom
    for row in rows:
        if len(row) > 1:
            row.sort(key=lambda piece: piece.box[0])
    return rows


@dataclass(frozen=True)
class _Region:
    """The part of a page that is being ordered."""

    left: float
    right: float
    height: float
    """Of its lines, at the median."""
    max_row_gap: float
    """Between rows of one column."""


@dataclass(frozen=True)
class _Columns:
    """Two columns side by side, which may hold more columns."""

    left: list[Piece]
    right: list[Piece]
    num_rows: int

    @property
    def in_order(self) -> tuple[list[Piece], list[Piece]]:
        is_rtl = _is_right_to_left(" ".join(piece.text for piece in self.left + self.right))
        return (self.right, self.left) if is_rtl else (self.left, self.right)


def _free_strips(rows: list[Row], start: int, region: _Region) -> tuple[int, list[float]]:
    """Return up to which row a vertical strip is free with text on both sides, and the middles of such strips."""
    min_width = _GUTTER * region.height
    strips = [(region.left, region.right)]
    left_edge, right_edge = math.inf, -math.inf
    end, middles = start, list[float]()
    for index in range(start, min(start + _MAX_COLUMN_ROWS, len(rows))):
        for piece in rows[index]:
            x0, _, x1, _ = piece.box
            if x0 < left_edge:
                left_edge = x0
            if x1 > right_edge:
                right_edge = x1
            if any(left < x1 and x0 < right for left, right in strips):
                parts = [part for strip in strips for part in _without(strip, x0, x1)]
                strips = [(left, right) for left, right in parts if right - left >= min_width]
        inner = [(left + right) / 2 for left, right in strips if left_edge < left and right < right_edge]
        if inner:
            end, middles = index + 1, inner
        elif middles or not strips:
            break
    return end, middles


def _without(strip: tuple[float, float], x0: float, x1: float) -> Sequence[tuple[float, float]]:
    """Return what is left of a strip without the part from `x0` to `x1`."""
    left, right = strip
    return [strip] if x1 <= left or right <= x0 else [(left, x0), (x1, right)]


def _columns(band: list[Row], gutter: float, region: _Region) -> _Columns | None:
    """Return the columns on both sides of a gutter that start with the first row; None if there are none."""
    is_left = [row[0].box[2] <= gutter for row in band]
    is_right = [row[-1].box[2] > gutter for row in band]
    # Between these rows there is text on both sides, not always on the same level.
    first = max(is_left.index(True), is_right.index(True))
    last = len(band) - 1 - max(is_left[::-1].index(True), is_right[::-1].index(True))
    num_rows = min(sum(is_left[first : last + 1]), sum(is_right[first : last + 1]))
    if num_rows < _MIN_COLUMN_ROWS:
        return None
    # Rows on one side only belong to the columns if they follow closely.
    is_close = [True] + [_gap(*pair) <= region.max_row_gap for pair in pairwise(band)]
    if not all(is_close[: first + 1]):
        return None
    end = last + 1
    while end < len(band) and is_close[end]:
        end += 1
    left = [piece for row in band[:end] for piece in row if piece.box[2] <= gutter]
    right = [piece for row in band[:end] for piece in row if piece.box[2] > gutter]
    return _Columns(left, right, end) if _are_columns(left, right, num_rows) else None


def _cell_by_cell(rows: list[Row], region: "_Region") -> list[Row]:
    """Return rows of a table such that the lines of a cell that has several are not torn apart.

    Rows that such a cell goes over are read cell by cell, the others stay as they are.
    """
    place_of = {id(piece): (index, place) for index, row in enumerate(rows) for place, piece in enumerate(row)}
    pieces = sorted((piece for row in rows for piece in row), key=lambda piece: piece.order)
    goes_on = [False] * len(rows)
    """Whether a row and the next one are to be read together."""
    for before, after in pairwise(pieces):
        if _goes_on(before, after, region):
            (first, place), (last, next_place) = place_of[id(before)], place_of[id(after)]
            is_torn = place < len(rows[first]) - 1 or next_place > 0
            if is_torn and first < last:
                goes_on[first:last] = [True] * (last - first)
    ordered: list[Row] = []
    start = 0
    for end in range(1, len(rows) + 1):
        if not goes_on[end - 1]:
            group = rows[start:end]
            ordered += [[piece] for piece in _by_columns(group)] if len(group) > 1 else group
            start = end
    return ordered


def _goes_on(before: Piece, after: Piece, region: "_Region") -> bool:
    """Return whether a piece of running text goes on below, where the file goes on."""
    shared = min(before.box[2], after.box[2]) - max(before.box[0], after.box[0])
    narrower = min(before.box[2] - before.box[0], after.box[2] - after.box[0])
    gap = after.box[1] - before.box[3]
    return (
        -region.height / 2 < gap <= region.max_row_gap
        and shared > narrower / 2
        and _num_words(before.text) >= _PROSE_WORDS
    )


def _by_columns(rows: list[Row]) -> list[Piece]:
    """Return pieces column by column, from the left. Those that overlap across are in one column."""
    columns: list[list[Piece]] = []
    right = -math.inf
    for piece in sorted((piece for row in rows for piece in row), key=lambda piece: piece.box[0]):
        if piece.box[0] >= right:
            columns.append([])
        columns[-1].append(piece)
        right = max(right, piece.box[2])
    return [piece for column in columns for piece in sorted(column, key=lambda piece: piece.box[1])]


def _gap(before: Row, after: Row) -> float:
    """Return the distance between two rows, negative if they overlap."""
    return min([piece.box[1] for piece in after]) - max([piece.box[3] for piece in before])


def _are_columns(left: list[Piece], right: list[Piece], num_rows: int) -> bool:
    """Return whether two sides with `num_rows` beside each other are columns, not a table."""
    if _are_line_numbers(left):
        return True
    if not (_is_prose(left) and _is_prose(right)):
        return False
    in_order = sorted([(piece.order, False) for piece in left] + [(piece.order, True) for piece in right])
    num_changes = sum(before[1] != after[1] for before, after in pairwise(in_order))
    # A file that goes from one side to the other and back for each row has a table, or was made by a program that knows
    # no columns. Then the lines of columns fill them, and those of a table's cells do not.
    return num_changes < num_rows or (_fill(left) > _FULL_LINES and _fill(right) > _FULL_LINES)


def _are_line_numbers(pieces: list[Piece]) -> bool:
    """Return whether the pieces are the numbers of a page's lines, as in court records."""
    numbers = [piece.text for piece in sorted(pieces, key=lambda piece: piece.box[1])]
    if len(numbers) < 5 or not all(number.isdecimal() and len(number) < 5 for number in numbers):
        return False
    return len({int(after) - int(before) for before, after in pairwise(numbers)}) == 1


def _is_prose(pieces: list[Piece]) -> bool:
    """Return whether most of the text is in pieces of several words, with letters."""
    lengths = [(len(piece.text), _num_words(piece.text) >= _PROSE_WORDS) for piece in pieces]
    num_chars = sum(length for length, _ in lengths)
    num_letters = sum(map(str.isalpha, "".join([piece.text for piece in pieces])))
    return num_letters > 0.5 * num_chars and sum(length for length, is_long in lengths if is_long) > 0.6 * num_chars


def _num_words(text: str) -> float:
    num_wide = len(_WIDE_SCRIPTS.findall(text))
    return len(text.split()) + num_wide / _WIDE_SCRIPT_CHARS_PER_WORD


def _fill(pieces: list[Piece]) -> float:
    """Return how much of their column's width the rows fill at the median."""
    width = max(piece.box[2] for piece in pieces) - min(piece.box[0] for piece in pieces)
    return median(sum(piece.box[2] - piece.box[0] for piece in row) for row in _rows(pieces)) / max(width, 1e-6)


def _line(row: Row) -> Line:
    if len(row) == 1:
        return Line(row[0].text, row[0].box, (row[0],))
    is_rtl = _is_right_to_left(" ".join(piece.text for piece in row))
    pieces = sorted(row, key=lambda piece: -piece.box[2]) if is_rtl else row
    height = max(piece.height for piece in pieces)
    text = pieces[0].text
    for before, after in pairwise(pieces):
        gap = before.box[0] - after.box[2] if is_rtl else after.box[0] - before.box[2]
        text += CELL_SEPARATOR if gap > _CELL_GAP * height else " " if gap > _WORD_GAP * height else ""
        text += after.text
    x0, y0, x1, y1 = zip(*(piece.box for piece in pieces), strict=True)
    return Line(text, (min(x0), min(y0), max(x1), max(y1)), tuple(pieces))


_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_LATIN_LETTER = re.compile("[A-Za-z\u00c0-\u024f]")
_WIDE_SCRIPTS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def _is_right_to_left(text: str) -> bool:
    return len(_RIGHT_TO_LEFT.findall(text)) > len(_LATIN_LETTER.findall(text))


def has_right_to_left(text: str) -> bool:
    """Return whether a text has letters that go from the right."""
    return bool(_RIGHT_TO_LEFT.search(text))


def is_mixed(text: str) -> bool:
    """Return whether a text has letters that go from the right and others that go from the left."""
    return bool(_RIGHT_TO_LEFT.search(text) and _LATIN_LETTER.search(text))


def is_wide(char: str) -> bool:
    """Return whether a character is Chinese, Japanese or Korean."""
    return bool(_WIDE_SCRIPTS.match(char))
