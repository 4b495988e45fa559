"""Cuts a stream of pieces of text into chunks of whole sentences, each with its place.

The text that is shown is also the text that is embedded, without a title or a heading before it: so the same text has
the same similarity, in whichever file it stands. A heading stands at the start of its first chunk.
"""

from bisect import bisect_right
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployments.indexing.joined_text import JoinedText, Range
from deployments.indexing.packing import pack, pack_early
from deployments.indexing.pieces import Break, Piece
from deployments.library.types import NewChunk
from deployments.sentences import clause_starts, word_starts

CountTokens = Callable[[list[str]], Awaitable[list[int]]]

MAX_BUFFERED_CHARACTERS = 20_000
"""How much text is gathered before it is cut: about 25 chunks, so that memory is bounded in a book without headings."""

_CHARACTERS_PER_CUT = 8
"""A word that is too long, such as a line of Chinese, is cut into parts of so many characters. No character is more
than a few word pieces."""

MAX_HEADING_TOKENS = 12
_FULL_STOPS = ".!?。！？"


@dataclass(frozen=True)
class _Unit:
    """A sentence, or a part of one that is too long. Chunks consist of whole units."""

    start: int
    end: int
    tokens: int


class Chunker:
    """Makes chunks of at most `max_tokens` word pieces, preferably of whole paragraphs.

    With `enough_tokens`, a chunk ends with the first sentence with which it has so many.
    """

    def __init__(self, max_tokens: int, count_tokens: CountTokens, enough_tokens: int | None = None) -> None:
        self._max_tokens = max_tokens
        self._enough_tokens = enough_tokens
        self._count_tokens = count_tokens

    async def chunks(self, pieces: AsyncIterable[Piece]) -> AsyncIterator[NewChunk]:
        """Yield the chunks of all pieces, in order. All text is in them, once."""
        joined = JoinedText()
        limit = MAX_BUFFERED_CHARACTERS
        async for piece in pieces:
            joined.append(piece)
            if len(joined.text) >= limit:
                # The last chunk may not be complete: its last sentence or its page may go on in the next piece.
                ranges = await self._chunk_ranges(joined)
                for start, end in ranges[:-1]:
                    yield joined.chunk(start, end)
                joined.cut_off(ranges[-1][0])
                limit = len(joined.text) + MAX_BUFFERED_CHARACTERS
        for start, end in await self._chunk_ranges(joined):
            yield joined.chunk(start, end)

    async def _chunk_ranges(self, joined: JoinedText) -> list[Range]:
        units = await self._units(joined)
        return [
            (group[chosen[0]].start, group[chosen[-1]].end)
            for group in _groups(units, joined.borders())
            for chosen in self._pack(joined, group)
        ]

    def _pack(self, joined: JoinedText, units: Sequence[_Unit]) -> list[range]:
        sizes = [unit.tokens for unit in units]
        if self._enough_tokens is not None:
            return pack_early(sizes, self._max_tokens, self._enough_tokens)
        paragraphs = joined.starts(Break.SENTENCE)
        good_cuts = [
            _is_between(paragraphs, unit, following) and not _is_like_heading(joined.text, unit)
            for unit, following in pairwise(units)
        ]
        return pack(sizes, self._max_tokens, good_cuts)

    async def _units(self, joined: JoinedText) -> list[_Unit]:
        """Return all sentences, those that are too long in parts."""
        breaks = sorted({*joined.starts(Break.CLAUSE), *joined.borders()})
        units: list[_Unit] = []
        for sentence in await self._measured(joined.text, joined.sentences()):
            if sentence.tokens <= self._max_tokens:
                units.append(sentence)
                continue
            words = joined.text[sentence.start : sentence.end]
            clauses = [*breaks, *(sentence.start + start for start in clause_starts(words))]
            units += await self._parts(joined.text, sentence, clauses)
        return units

    async def _parts(self, text: str, whole: _Unit, starts: Sequence[int]) -> list[_Unit]:
        """Cut a sentence that is too long: at `starts`, where that is not enough at words, at last within words."""
        inner = sorted({start for start in starts if whole.start < start < whole.end})
        parts: list[_Unit] = []
        for part in await self._measured(text, list(pairwise([whole.start, *inner, whole.end]))):
            if part.tokens <= self._max_tokens or part.end - part.start <= _CHARACTERS_PER_CUT:
                parts.append(part)
                continue
            words = [part.start + start for start in word_starts(text[part.start : part.end])]
            cuts = words or range(part.start, part.end, _CHARACTERS_PER_CUT)
            parts += await self._parts(text, part, cuts)
        sizes = [part.tokens for part in parts]
        return [
            _Unit(parts[chosen[0]].start, parts[chosen[-1]].end, sum(sizes[chosen.start : chosen.stop]))
            for chosen in pack(sizes, self._max_tokens)
        ]

    async def _measured(self, text: str, ranges: Sequence[Range]) -> list[_Unit]:
        """Return units of the text in each range, without the white space around it."""
        texts = [text[start:end] for start, end in ranges]
        counts = await self._count_tokens([words.strip() for words in texts]) if texts else []
        return [
            _Unit(end - len(words.lstrip()), start + len(words.rstrip()), tokens)
            for (start, end), words, tokens in zip(ranges, texts, counts, strict=True)
        ]


def _groups(units: Sequence[_Unit], borders: Sequence[int]) -> list[Sequence[_Unit]]:
    """Divide units at borders; one within a sentence counts at the sentence's end."""
    ends = [
        index + 1 for index, (unit, following) in enumerate(pairwise(units)) if _is_between(borders, unit, following)
    ]
    return [units[start:end] for start, end in pairwise([0, *ends, len(units)]) if start < end]


def _is_between(positions: Sequence[int], unit: _Unit, following: _Unit) -> bool:
    """Return whether one of the sorted positions lies within a unit or before the next."""
    return bisect_right(positions, following.start) > bisect_right(positions, unit.start)


def _is_like_heading(text: str, unit: _Unit) -> bool:
    """Return whether a paragraph is so short, and without a full stop, that it may belong to the next."""
    return unit.tokens <= MAX_HEADING_TOKENS and text[unit.end - 1] not in _FULL_STOPS
