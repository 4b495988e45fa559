"""Finds the boxes of some characters of a line on the page.

The characters are counted in the indexed text, which differs from pdfium's: ligatures have become letters, hyphens at
the end of a line soft hyphens, and white space single spaces.
"""

from collections.abc import Iterator, Sequence

from deployments.document_parser.display import Display
from deployments.document_parser.page_text import PDFIUM_HYPHEN, SOFT_HYPHEN, PlacedLine, character_boxes, union
from deployments.document_parser.reading_order import Piece
from deployments.document_parser.text_layer import clean
from deployments.document_parser.types import LineRange
from deployments.places import Box

MAX_GAP = 0.5
"""Characters are one run if the gap between them is at most this part of the longer side of one. A space is .25 to .35
of it."""
_SAME_BOX = 1e-4
"""Boxes of lines are kept to a ten-thousandth of the page."""


def boxes_of(wanted: LineRange, lines: Sequence[PlacedLine], display: Display) -> list[Box]:
    """Return a box for each run of the wanted characters, in fractions of the page.

    If none of `lines` is theirs, because another version of pdfium reads the page in another way than when it was
    indexed, that is the box of the whole line.
    """
    for line in lines:
        if all(abs(a - b) <= _SAME_BOX for a, b in zip(line.line.box, wanted.box, strict=True)):
            positions = _kept_positions(line.line.text)
            text = "".join(line.line.text[position] for position in positions)
            if text.split() and _spaced(text[wanted.start : wanted.end]) == _spaced(wanted.text):
                chosen = positions[wanted.start : wanted.end]
                if wanted.end >= len(positions) and line.line.text[-1] == SOFT_HYPHEN:
                    chosen.append(len(line.line.text) - 1)
                return [display.fractions(box) for box in _runs(line, chosen, display)]
    return [wanted.box]


def _kept_positions(text: str) -> list[int]:
    """Return the positions of the characters that are indexed: without soft hyphens, and with single spaces."""
    positions: list[int] = []
    for position, character in enumerate(text):
        is_space = character.isspace()
        if character in (SOFT_HYPHEN, "\0") or (is_space and (not positions or text[positions[-1]].isspace())):
            continue
        positions.append(position)
    while positions and text[positions[-1]].isspace():
        positions.pop()
    return positions


def _spaced(text: str) -> str:
    return "".join(" " if character.isspace() else character for character in text)


def _runs(line: PlacedLine, positions: Sequence[int], display: Display) -> Iterator[Box]:
    """Yield a box, in points, for each run of the characters at these positions of the line's text."""
    for first, piece in _placed(line):
        inside = [position - first for position in positions if first <= position < first + len(piece.text)]
        visible = [position for position in inside if not piece.text[position].isspace()]
        if visible and not piece.spans:
            yield piece.box  # of a form's field, whose characters pdfium does not place
        elif visible:
            indices = _indices(piece, line.characters)
            boxes = character_boxes(line.text_page, [indices[position] for position in visible], display)
            yield from _joined([(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()])


def _placed(line: PlacedLine) -> Iterator[tuple[int, Piece]]:
    """Yield the pieces of a line, each with its position in the line's text."""
    text, position = line.line.text, 0
    for piece in line.pieces:
        while text[position].isspace():
            position += 1
        yield position, piece
        position += len(piece.text)


def _indices(piece: Piece, characters: str) -> list[int]:
    """Return for each character of a piece's text the index of the page's character that it comes from."""
    indices: list[int] = []
    index = piece.spans[0][0]
    for index in (index for span in piece.spans for index in range(*span) if not characters[index].isspace()):
        for letter in _letters(characters[index]):
            while len(indices) < len(piece.text) and piece.text[len(indices)] == " ":
                indices.append(index)
            if len(indices) < len(piece.text) and piece.text[len(indices)] == letter:
                indices.append(index)
    return indices + [index] * (len(piece.text) - len(indices))


def _letters(character: str) -> str:
    """Return the letters that stand for a character of the page in a piece's text, except for a hyphen at its end,
    which is a soft hyphen there."""
    return "-" if character in (SOFT_HYPHEN, PDFIUM_HYPHEN) else clean(character)


def _joined(boxes: Sequence[Box]) -> Iterator[Box]:
    """Yield one box for boxes that stand close, in the order of the text."""
    run: list[Box] = []
    for box in boxes:
        if run and not _are_near(union(run), box):
            yield union(run)
            run = []
        run.append(box)
    yield union(run)


def _are_near(run: Box, box: Box) -> bool:
    gaps = [max(run[axis] - box[axis + 2], box[axis] - run[axis + 2]) for axis in (0, 1)]
    return max(gaps) <= MAX_GAP * max(box[2] - box[0], box[3] - box[1])
