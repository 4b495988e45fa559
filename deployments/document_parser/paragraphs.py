"""What the readers of documents without pages share: headings, rows of tables, numbering, and a bound on lengths."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from deployments.document_parser.types import Paragraph, ParagraphKind

CELL_SEPARATOR = "\t"
"""Between the cells of a table's row."""

MAX_PARAGRAPH_CHARS = 4000
"""Longer ones, such as a log without empty lines, are cut, after a line or a sentence where there is one."""

_MAX_ROW_CHARS = 1000
"""A longer row is no row of a table: tables are also used to lay out a page."""

_BREAKS = (re.compile(r".*\n", re.DOTALL), re.compile(r".*[.!?。！？]\s?", re.DOTALL), re.compile(r".*\s", re.DOTALL))
"""Where a paragraph is cut, the best place first."""


@dataclass(frozen=True)
class Block:
    """A paragraph before it is numbered."""

    text: str
    kind: ParagraphKind = "text"
    level: int = 0
    """Of a heading, from 1; 0 for a document's title, which nothing stands under."""
    heading: tuple[str, ...] | None = None
    """The headings it stands under, where those are not the ones before it."""


class Headings:
    """The headings that the next paragraph stands under."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    @property
    def path(self) -> tuple[str, ...]:
        """The outermost first."""
        return tuple(text for _, text in self._open)

    def close(self, level: int) -> None:
        """Close the headings of this level and of those below."""
        self._open = [(open_level, text) for open_level, text in self._open if open_level < level]

    def open(self, level: int, text: str) -> None:
        self._open.append((level, " ".join(text.split())))


def number_paragraphs(blocks: Iterator[Block], headings: Headings) -> Iterator[Paragraph]:
    """Yield a paragraph for each block that is not empty, numbered from 1, and keep track of the headings."""
    number = 0
    for block in blocks:
        opens_heading = block.kind == "heading" and block.level > 0 and bool(block.text.strip())
        if opens_heading:
            headings.close(block.level)
        path = headings.path if block.heading is None else block.heading
        for part in cut(block.text):
            number += 1
            yield Paragraph(number, path, part, block.kind)
        if opens_heading:
            headings.open(block.level, block.text)


def row_blocks(cells: Sequence[Sequence[Block]]) -> list[Block]:
    """Return the row of a table with these cells as one block, and rows of tables in its cells behind it.

    A row of one cell with several blocks, or of very long ones, serves the layout: its blocks stand for themselves.
    """
    filled = [[block for block in cell if block.text.strip()] for cell in cells]
    filled = [cell for cell in filled if cell]
    own = [[block.text for block in cell if block.kind != "table_row"] for cell in filled]
    is_layout = len(filled) == 1 and len(own[0]) > 1
    if is_layout or sum(len(text) for texts in own for text in texts) > _MAX_ROW_CHARS:
        return [block for cell in filled for block in cell]
    inner = [block for cell in filled for block in cell if block.kind == "table_row"]
    row = CELL_SEPARATOR.join(" ".join(" ".join(texts).split()) for texts in own if texts)
    return [Block(row, "table_row"), *inner] if row else inner


def merged(block: Block, before: str) -> Block:
    """Return the block with `before` in front of its text."""
    return replace(block, text=before + block.text) if before else block


def cut(text: str) -> Iterator[str]:
    """Yield parts of at most MAX_PARAGRAPH_CHARS, without spaces around them; none if the text is empty."""
    start = 0
    while len(text) - start > MAX_PARAGRAPH_CHARS:
        window = text[start : start + MAX_PARAGRAPH_CHARS]
        # Not in the first half, so that no part is needlessly short.
        matches = (pattern.match(window) for pattern in _BREAKS)
        ends = (match.end() for match in matches if match and match.end() > MAX_PARAGRAPH_CHARS // 2)
        size = next(ends, MAX_PARAGRAPH_CHARS)
        if part := window[:size].strip():
            yield part
        start += size
    if part := text[start:].strip():
        yield part
