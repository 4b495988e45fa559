"""Pieces of text on their way from the file to chunks: lines, paragraphs, words."""

from dataclasses import dataclass
from enum import IntEnum

from deployments.library.types import SourceInfo


class Break(IntEnum):
    """What ends before a piece of text, whatever the punctuation says."""

    NONE = 0
    CLAUSE = 1
    """Nothing ends, but a sentence that is too long is best cut here."""
    SENTENCE = 2
    """A sentence, as at the end of a paragraph or of a table's row."""


@dataclass(frozen=True)
class Piece:
    """A run of text from one place."""

    text: str
    """A soft hyphen (U+00AD) at its end joins it to the next piece."""
    place: SourceInfo
    """Of a ChunkPart; deployments/source_info.py has the keys."""
    common: SourceInfo
    """The rest of `source_info` for a chunk that begins with this piece."""
    separator: str = " "
    """What stands between the piece before and this one."""
    break_before: Break = Break.NONE
    is_border: bool = False
    """Whether a page, a heading's text or a speaker's silence ends before it. No chunk crosses that, except to the end
    of a sentence."""
