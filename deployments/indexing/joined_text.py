"""Joins pieces into one text, and knows for each character which piece it came from."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from deployments.indexing.pieces import Break, Piece
from deployments.library.types import ChunkPart, NewChunk, SourceInfo
from deployments.sentences import sentence_ranges
from deployments.source_info import source_info

SOFT_HYPHEN = "\u00ad"

Range = tuple[int, int]
"""The characters from the first number to the second (exclusive)."""


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    piece: Piece
    offset: int = 0
    """How many characters of the piece were cut off before it."""

    def place(self, start: int) -> SourceInfo:
        """Return the place of what begins at `start` of the whole text."""
        offset = self.offset + max(0, start - self.start)
        return {**self.piece.place, "offset": offset} if offset and "box" in self.piece.place else self.piece.place


class JoinedText:
    """Text that grows at its end and is cut off at its start."""

    def __init__(self) -> None:
        self.text = ""
        self._spans: list[_Span] = []
        self._break, self._is_border = Break.NONE, False
        """Before the next piece, because of empty ones."""
        self._is_hyphenated = False

    def append(self, piece: Piece) -> None:
        """Add a piece without its soft hyphens, and with single spaces and single line breaks."""
        self._break = max(self._break, piece.break_before)
        self._is_border |= piece.is_border
        text = clean(piece.text)
        if not text:
            return
        if self.text and not self._is_hyphenated:
            self.text += piece.separator
        start = len(self.text)
        self.text += text
        piece = replace(piece, break_before=self._break, is_border=self._is_border)
        self._spans.append(_Span(start, len(self.text), piece))
        self._break, self._is_border = Break.NONE, False
        self._is_hyphenated = piece.text.rstrip().endswith(SOFT_HYPHEN)

    def sentences(self) -> list[Range]:
        """Return the ranges of all sentences, without the white space around them."""
        bounds = [0, *self.starts(Break.SENTENCE), len(self.text)]
        return [
            (start + first, start + last)
            for start, end in pairwise(bounds)
            for first, last in sentence_ranges(self.text[start:end])
        ]

    def starts(self, at_least: Break) -> list[int]:
        """Return where pieces begin that have such a break before them."""
        return [span.start for span in self._spans[1:] if span.piece.break_before >= at_least]

    def borders(self) -> list[int]:
        """Return where pieces begin that have a border before them."""
        return [span.start for span in self._spans[1:] if span.piece.is_border]

    def chunk(self, start: int, end: int) -> NewChunk:
        """Return the text of a range, with its place and its parts."""
        spans = self._spans_in(start, end)
        parts = [
            ChunkPart(max(span.start, start) - start, min(span.end, end) - start, span.place(start)) for span in spans
        ]
        return NewChunk(self.text[start:end], source_info(spans[0].piece.common, parts), parts)

    def cut_off(self, end: int) -> None:
        """Remove the text before `end`."""
        self._spans = [
            _Span(max(span.start, end) - end, span.end - end, span.piece, span.offset + max(0, end - span.start))
            for span in self._spans_in(end, len(self.text))
        ]
        self.text = self.text[end:]

    def _spans_in(self, start: int, end: int) -> Sequence[_Span]:
        first = bisect_left(self._spans, start + 1, key=lambda span: span.end)
        last = bisect_left(self._spans, end, key=lambda span: span.start)
        return self._spans[first:last]


def clean(text: str) -> str:
    """Return text without soft hyphens, NUL and lone surrogates, with single spaces and single line breaks."""
    text = text.replace(SOFT_HYPHEN, "").replace("\0", "").encode(errors="ignore").decode()
    return "\n".join(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)
