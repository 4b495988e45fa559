"""Reads the text layer of a PDF's page: words with their boxes on the displayed page."""

import ctypes
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, Literal, NamedTuple

import numpy as np
import pypdfium2.raw as pdfium_c
from numpy.typing import NDArray

from deployments.document_parser.display import Direction, Display
from deployments.document_parser.reading_order import (
    Piece,
    has_right_to_left,
    is_mixed,
    is_wide,
    lines_in_reading_order,
)
from deployments.document_parser.text_layer import clean
from deployments.places import Box, TextLine

SOFT_HYPHEN = "\u00ad"
PDFIUM_HYPHEN = "\x02"
"""What pdfium makes of a hyphen at the end of a line (U+FFFE where it returns whole texts); no line end follows it."""

_WIDE_GAP = 1.0
"""In heights of the line: words further apart may belong to different columns or cells."""

_SAME_PLACE = 0.25
"""In heights of the line: the same text so close is drawn twice."""

_RECT = np.dtype([("left", "f4"), ("top", "f4"), ("right", "f4"), ("bottom", "f4")])
"""FS_RECTF."""


def _with_plain_arguments(function: Any, *argument_types: Any, returns: Any = ctypes.c_int) -> Callable[..., Any]:
    """Return the same C function with addresses as integers: five times as fast to call as with typed pointers."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return ctypes.CFUNCTYPE(returns, *argument_types)(address)


_loose_char_box = _with_plain_arguments(
    pdfium_c.FPDFText_GetLooseCharBox, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)
_unicode = _with_plain_arguments(pdfium_c.FPDFText_GetUnicode, ctypes.c_void_p, ctypes.c_int)
_char_angle = _with_plain_arguments(
    pdfium_c.FPDFText_GetCharAngle, ctypes.c_void_p, ctypes.c_int, returns=ctypes.c_float
)


def read_characters(text_page: "pdfium_c.FPDF_TEXTPAGE") -> str:
    """Return the characters of a page, one for each that pdfium counts."""
    num_chars = pdfium_c.FPDFText_CountChars(text_page)
    if num_chars <= 0:
        return ""
    # Characters outside the basic plane take two units, and the last one is a terminator.
    buffer = (ctypes.c_ushort * (2 * num_chars + 1))()
    num_units = pdfium_c.FPDFText_GetText(text_page, 0, num_chars, buffer)
    text = bytes(memoryview(buffer)[: max(0, num_units - 1)]).decode("utf-16-le", "replace")
    if len(text) == num_chars:
        return text.replace("\ufffe", PDFIUM_HYPHEN)
    # pdfium leaves characters out of the text that it counts, such as control characters.
    codes = map(_unicode, repeat(_address(text_page)), range(num_chars))
    return "".join(chr(code) if 0 <= code <= 0x10FFFF else "\ufffd" for code in codes)


@dataclass(frozen=True)
class PlacedLine:
    """A line, and where its characters are."""

    line: TextLine
    pieces: tuple[Piece, ...]
    """What it consists of, in order; only white space stands between them."""
    characters: str
    """All of the page, which the pieces' `spans` refer to."""
    text_page: "pdfium_c.FPDF_TEXTPAGE"
    """Open only while the page is read."""


def read_lines(
    text_page: "pdfium_c.FPDF_TEXTPAGE", characters: str, display: Display, fields: Sequence[tuple[str, Box]]
) -> list[PlacedLine]:
    """Return the lines of a page in reading order, lines of another direction than most of them last.

    `fields` are what is filled into a form, with boxes in points of the displayed page.
    """
    characters = _with_arabic_ligatures(text_page, characters)
    pieces: dict[Direction, list[Piece]] = {}
    for direction, piece in _pieces(text_page, characters, display):
        pieces.setdefault(direction, []).append(piece)
    upright = pieces.setdefault("right", [])
    upright += [Piece(text, box, len(characters) + number) for number, (text, box) in enumerate(fields)]
    lines: list[TextLine] = []
    pieces_of: list[tuple[Piece, ...]] = []
    for direction, group in sorted(pieces.items(), key=lambda item: -sum(len(piece.text) for piece in item[1])):
        turned = [
            Piece(piece.text, display.upright(piece.box, direction), piece.order, piece.spans)
            for piece in _drawn_once(group)
        ]
        for line in lines_in_reading_order(turned):
            lines.append(TextLine(line.text, display.fractions(display.turned_back(line.box, direction))))
            pieces_of.append(line.pieces)
    return [
        PlacedLine(line, line_pieces, characters, text_page)
        for line, line_pieces in zip(_with_plain_hyphens(lines, characters), pieces_of, strict=True)
    ]


def _drawn_once(pieces: list[Piece]) -> list[Piece]:
    """Return the pieces without those that are drawn again at the same place, for a shadow or to look bold."""
    seen: set[tuple[str, int, int]] = set()
    once = []
    for piece in pieces:
        step = _SAME_PLACE * piece.height or 1
        x, y = int(piece.box[0] / step), int(piece.box[1] / step)
        if not any((piece.text, x + dx, y + dy) in seen for dx in (0, -1, 1) for dy in (0, -1, 1)):
            once.append(piece)
        seen.add((piece.text, x, y))
    return once


def _with_plain_hyphens(lines: list[TextLine], characters: str) -> list[TextLine]:
    """Return the lines with a plain hyphen at the end where it belongs to the word: `Anglo-` before `American`.

    Where the word is elsewhere on the page, that decides; else whether the next line goes on with a small letter.
    """
    resolved = []
    following = [*(line.text for line in lines[1:]), ""]
    for line, after in zip(lines, following, strict=False):
        if line.text[-1] == SOFT_HYPHEN and not _is_one_word(line.text[:-1], after, characters):
            line = replace(line, text=line.text[:-1] + "-")
        resolved.append(line)
    return resolved


def _is_one_word(before: str, after: str, characters: str) -> bool:
    first, last = _LAST_LETTERS.search(before), _FIRST_LETTERS.match(after)
    if first is None or last is None:
        return False
    if first[0] + last[0] in characters:
        return True
    return last[0][0].islower() and f"{first[0]}-{last[0]}" not in characters


_LAST_LETTERS = re.compile(r"\w+$")
_FIRST_LETTERS = re.compile(r"\w+")
_ALEF_BEFORE_LAM = re.compile("[\u0622\u0623\u0625\u0627]\u0644")


def _with_arabic_ligatures(text_page: "pdfium_c.FPDF_TEXTPAGE", characters: str) -> str:
    """Return the characters with lam before alef where both are one glyph, whose parts pdfium turns around."""

    def in_order(match: re.Match[str]) -> str:
        first, second = (_rects(_address(text_page), [match.start() + index])[0] for index in (0, 1))
        return match[0][::-1] if first == second else match[0]

    return _ALEF_BEFORE_LAM.sub(in_order, characters)


_WORD = re.compile(rf"[^\s{PDFIUM_HYPHEN}]+{PDFIUM_HYPHEN}?")
_LINE_END = re.compile(rf"[\n{PDFIUM_HYPHEN}]")


class _Word(NamedTuple):
    start: int
    end: int
    """Position of its characters in the page's."""
    box: Box
    """In points of the displayed page."""


def _pieces(
    text_page: "pdfium_c.FPDF_TEXTPAGE", characters: str, display: Display
) -> Iterator[tuple[Direction, Piece]]:
    spans = [match.span() for match in _WORD.finditer(characters)]
    if not spans:
        return
    words = _Words(text_page, characters, display, spans)
    direction_unturned = display.direction(0)
    for first, after, box in words.lines():
        angle = words.angle(first)
        direction = display.direction(angle) if angle else direction_unturned
        if direction == "right" and words.are_simple(first, after):
            start, end = spans[first][0], spans[after - 1][1]
            if text := _searchable(" ".join(characters[start:end].split())):
                yield direction, Piece(text, box, start, ((start, end),))
            continue
        direction, groups = words.groups(first, after, direction)
        for group in groups:
            if text := _searchable(_join(characters, group)):
                word_spans = tuple((word.start, word.end) for word in group)
                yield direction, Piece(text, union([word.box for word in group]), group[0].start, word_spans)


class _Words:
    """The words of a page, with the box around their first and last character."""

    def __init__(
        self,
        text_page: "pdfium_c.FPDF_TEXTPAGE",
        characters: str,
        display: Display,
        spans: list[tuple[int, int]],
    ) -> None:
        self._address = _address(text_page)
        self._characters = characters
        self._display = display
        self._spans = spans
        ends = self._boxes([index for start, end in spans for index in (start, end - 1)]).reshape(-1, 2, 4)
        boxes = np.concatenate([ends[:, :, :2].min(axis=1), ends[:, :, 2:].max(axis=1)], axis=1)
        self._box_array = boxes
        self._box_list = boxes.tolist()

        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        is_displayed = np.all((middles > 0) & (middles < (display.width, display.height)), axis=1)
        x0, y0, x1, y1 = boxes.T
        heights = y1 - y0
        is_near = x0[1:] - x1[:-1] <= _WIDE_GAP * np.maximum(heights[1:], heights[:-1])
        follows = is_near & (x0[1:] >= x0[:-1]) & _overlap(boxes[1:], boxes[:-1], 1)
        is_level = [_overlap(ends[:, 0], ends[:, 1], axis) for axis in (0, 1)]
        self._is_level = [flags.tolist() for flags in is_level]
        self._is_simple = (is_displayed & is_level[1]).tolist()
        self._follows_simply = follows.tolist()

    def lines(self) -> Iterator[tuple[int, int, Box]]:
        """Yield for each of pdfium's lines its first word, the one after its last, and the box around them.

        What is below one another in a narrow column may be one line all the same.
        """
        line_ends = [match.end() for match in _LINE_END.finditer(self._characters)]
        starts = np.array([start for start, _ in self._spans])
        firsts = np.unique(np.searchsorted(starts, [0, *line_ends]))
        firsts = firsts[firsts < len(starts)]
        lows = np.minimum.reduceat(self._box_array[:, :2], firsts)
        highs = np.maximum.reduceat(self._box_array[:, 2:], firsts)
        boxes = map(tuple, np.concatenate([lows, highs], axis=1).tolist())
        afters = [*firsts[1:].tolist(), len(starts)]
        yield from zip(firsts.tolist(), afters, boxes, strict=True)

    def angle(self, index: int) -> float:
        """Return by how much a word is turned in the page's coordinates, in radians, clockwise."""
        return float(_char_angle(self._address, self._spans[index][0]))

    def are_simple(self, first: int, after: int) -> bool:
        """Return whether words go from left to right on one level without a wide gap."""
        return all(self._is_simple[first:after]) and all(self._follows_simply[first : after - 1])

    def groups(self, first: int, after: int, direction: Direction) -> tuple[Direction, list[list[_Word]]]:
        """Return the direction of a line, and its words in groups that are on one level without a wide gap."""
        words = [part for index in range(first, after) for part in self._level_parts(index, direction)]
        words = [word for word in words if self._display.shows(word.box)]
        if direction == "right" and _is_vertical_writing(words, self._characters):
            direction = "down"
        groups = [group for level in _levels(words, direction) for group in _near(level, direction)]
        return direction, groups if direction != "left" else [self._read_to_the_left(group) for group in groups]

    def _read_to_the_left(self, group: list[_Word]) -> list[_Word]:
        """Return the words of an upside-down line in reading order.

        pdfium orders words that were placed one by one from the left of the displayed page.
        """
        if has_right_to_left("".join(self._characters[word.start : word.end] for word in group)):
            return group
        return sorted(group, key=lambda word: -word.box[2])

    def _level_parts(self, index: int, direction: Direction) -> list[_Word]:
        """Return the word, or its parts if it goes on below itself: pdfium takes stacked numbers for one word.

        A word with letters of both directions is not between its first and last character.
        """
        word = _Word(*self._spans[index], tuple(self._box_list[index]))
        is_level = self._is_level[_across(direction)][index]
        if is_level and not is_mixed(self._characters[word.start : word.end]):
            return [word]
        boxes = [tuple(box) for box in self._boxes(range(word.start, word.end)).tolist()]
        if is_level:
            return [word._replace(box=union(boxes))]
        letters = [_Word(word.start + index, word.start + index + 1, box) for index, box in enumerate(boxes)]
        return [
            _Word(level[0].start, level[-1].end, union([letter.box for letter in level]))
            for level in _levels(letters, direction)
        ]

    def _boxes(self, indices: Sequence[int]) -> NDArray[np.float64]:
        return _boxes(self._address, indices, self._display)


def character_boxes(
    text_page: "pdfium_c.FPDF_TEXTPAGE", indices: Sequence[int], display: Display
) -> NDArray[np.float64]:
    """Return the boxes of characters in points of the displayed page, shape (num_characters, 4)."""
    return _boxes(_address(text_page), indices, display)


def _boxes(text_page: int, indices: Sequence[int], display: Display) -> NDArray[np.float64]:
    rects = _rects(text_page, indices)
    corners = np.stack([rects[name] for name in ("left", "bottom", "right", "top")], axis=1)
    return display.boxes(corners.astype(np.float64))


def _rects(text_page: int, indices: Sequence[int]) -> NDArray[np.void]:
    """Return the boxes of characters in the page's coordinates."""
    rects = np.zeros(len(indices), _RECT)
    start = rects.ctypes.data
    addresses = range(start, start + rects.nbytes, _RECT.itemsize)
    for _ in map(_loose_char_box, repeat(text_page), indices, addresses):
        pass
    return rects


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64], axis: Literal[0, 1]) -> NDArray[np.bool_]:
    """Return which boxes of two lists overlap along an axis, shape (num_boxes,)."""
    return (a[:, axis] <= b[:, axis + 2]) & (b[:, axis] <= a[:, axis + 2])


def _address(handle: Any) -> int:
    address = ctypes.cast(handle, ctypes.c_void_p).value
    assert address is not None
    return address


def _levels(words: list[_Word], direction: Direction) -> Iterator[list[_Word]]:
    """Yield words that follow one another on one level."""
    first = 0
    for index in range(1, len(words)):
        if not _are_level(words[index - 1].box, words[index].box, direction):
            yield words[first:index]
            first = index
    if words:
        yield words[first:]


def _are_level(a: Box, b: Box, direction: Direction) -> bool:
    """Return whether two boxes overlap across the direction of the line."""
    axis = _across(direction)
    return a[axis] < b[axis + 2] and b[axis] < a[axis + 2]


def _along(direction: Direction) -> Literal[0, 1]:
    return 0 if direction in ("right", "left") else 1


def _across(direction: Direction) -> Literal[0, 1]:
    return 1 if direction in ("right", "left") else 0


def _is_vertical_writing(words: list[_Word], characters: str) -> bool:
    """Return whether upright characters stand below one another, as in Chinese and Japanese."""
    if len(words) < 2 or not all(word.end - word.start == 1 and is_wide(characters[word.start]) for word in words):
        return False
    x0, y0, x1, y1 = union([words[0].box, words[-1].box])
    return y1 - y0 > 2 * (x1 - x0)


def _near(words: list[_Word], direction: Direction) -> list[list[_Word]]:
    """Return the words in groups without a wide gap, each in the file's order, which for right-to-left text is not
    from the left."""
    along, across = _along(direction), _across(direction)
    max_gap = _WIDE_GAP * max([word.box[across + 2] - word.box[across] for word in words])
    groups: list[list[_Word]] = []
    end = -math.inf
    for word in sorted(words, key=lambda word: word.box[along]):
        if word.box[along] - end > max_gap:
            groups.append([])
        groups[-1].append(word)
        end = max(end, word.box[along + 2])
    for group in groups:
        group.sort(key=lambda word: word.start)
    return groups


def union(boxes: Sequence[Sequence[float]]) -> Box:
    """Return the smallest box around boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _join(characters: str, words: list[_Word]) -> str:
    """Return words with spaces between them, but not between parts of a word."""
    text = ""
    end = words[0].start
    for word in words:
        text += (" " if word.start != end else "") + characters[word.start : word.end]
        end = word.end
    return text


def _searchable(text: str) -> str:
    """Return a line's text, which ends with a soft hyphen if its last word goes on in another line."""
    is_hyphenated = text[-1] in (PDFIUM_HYPHEN, SOFT_HYPHEN)
    # Elsewhere than at a line's end a soft hyphen is displayed like any other.
    text = clean(text[:-1] if is_hyphenated else text).replace(SOFT_HYPHEN, "-").strip()
    return text + SOFT_HYPHEN if is_hyphenated and text else text
