"""Where to mark the picture of a page: the lines of a passage, or some of its characters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.document_parser.types import LineRange
from deployments.errors import InvalidRequest
from deployments.library.types import ChunkPart, ChunkRecord
from deployments.places import Box

Chars = tuple[int, int]
"""The characters of a passage from the first number to the second (exclusive)."""


@dataclass(frozen=True)
class Marks:
    """What to mark on a page."""

    boxes: Sequence[Box] = ()
    """In fractions of the page."""
    in_text_layer: Sequence[LineRange] = ()
    """Characters whose boxes the document parser must look up in the PDF's text layer."""


def parse_chars(chars: str | None, chunk: ChunkRecord) -> Chars | None:
    """Return what the parameter `chars` asks for, such as `120-188`; raises InvalidRequest if the chunk has no such
    characters."""
    if chars is None:
        return None
    start, end = map(int, chars.split("-"))
    if not start < end <= len(chunk.text):
        raise InvalidRequest(
            f"The passage has no characters chars={chars}: it has {len(chunk.text)} (chars=0-{len(chunk.text)})."
        )
    return start, end


def marks(chunk: ChunkRecord, page: int | None, chars: Chars | None) -> Marks:
    """Return where a chunk, or some of its characters, stand on a page. `page` is None for a picture."""
    boxes: list[Box] = []
    in_text_layer: list[LineRange] = []
    for part in chunk.parts:
        place = part.place
        if place.get("page") != page or "box" not in place:
            continue
        box = _box(place["box"])
        if chars is None:
            boxes.append(box)
            continue
        first, last = max(part.start, chars[0]), min(part.end, chars[1])
        if not chunk.text[first:last].strip():
            continue
        start, end = (place.get("offset", 0) + position - part.start for position in (first, last))
        if "words" in place:
            boxes += _word_boxes(part, start, end)
        elif place.get("extraction") == "ocr" or page is None:
            boxes.append(box)
        else:
            in_text_layer.append(LineRange(box, start, end, chunk.text[first:last]))
    return Marks(boxes, in_text_layer)


def _word_boxes(part: ChunkPart, start: int, end: int) -> Iterator[Box]:
    """Yield the box of each word with one of these characters, in a line that was read by OCR.

    OCR gives boxes of words only. For a part of a word, its box is divided as if all characters were equally wide.
    """
    words = [(first, last, _box(box)) for first, last, *box in part.place["words"]]
    axis, is_backwards = _direction([box for _, _, box in words])
    for first, last, box in words:
        if first < end and start < last:
            fractions = [(max(start, first) - first) / (last - first), (min(end, last) - first) / (last - first)]
            if is_backwards:
                fractions = [1 - fractions[1], 1 - fractions[0]]
            cut = list(box)
            length = box[axis + 2] - box[axis]
            cut[axis], cut[axis + 2] = box[axis] + fractions[0] * length, box[axis] + fractions[1] * length
            yield _box(cut)


def _direction(words: Sequence[Box]) -> tuple[int, bool]:
    """Return the axis (0: x, 1: y) along which the words of a line follow each other, and whether its values decrease.

    For a single word, that is to the right.
    """
    first, last = words[0], words[-1]
    steps = [(last[axis] + last[axis + 2]) - (first[axis] + first[axis + 2]) for axis in (0, 1)]
    axis = int(abs(steps[1]) > abs(steps[0]))
    return axis, steps[axis] < 0


def _box(coordinates: Sequence[float]) -> Box:
    x0, y0, x1, y1 = coordinates
    return x0, y0, x1, y1
