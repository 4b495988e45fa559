"""Citations: the words of a passage that back a sentence, their number, and the path that opens their place."""

from collections.abc import Sequence
from dataclasses import replace

from deployments.answerer.types import AnswerSentence, Quote
from deployments.library.types import ChunkRecord, SearchHit
from deployments.source_info import narrowed
from serve_app.library_schemas import Citation

PREVIEW_CHARACTERS = 100


class Citations:
    """Numbers the quotes of an answer in the order in which they are first cited."""

    def __init__(self, hits: Sequence[SearchHit]) -> None:
        """`hits` have all passages that may be cited."""
        self._chunks = {hit.chunk.chunk_id: hit.chunk for hit in hits}
        self._numbers: dict[Quote, int] = {}
        self.all: list[Citation] = []

    def numbers(self, sentence: AnswerSentence) -> list[int]:
        """Return the numbers of what backs a sentence; quotes that were not cited before are added to `all`."""
        for quote in sentence.quotes:
            if quote not in self._numbers:
                self._numbers[quote] = len(self._numbers) + 1
                self.all.append(cite(self._numbers[quote], self._chunks[quote.chunk_id], quote.start, quote.end))
        return [self._numbers[quote] for quote in dict.fromkeys(sentence.quotes)]


def cite(number: int, chunk: ChunkRecord, start: int, end: int) -> Citation:
    """Return a citation of the characters from `start` to `end` (exclusive) of a chunk."""
    source_info = narrowed(chunk.source_info, chunk.parts, start, end)
    return Citation(
        citation_number=number,
        chunk_id=chunk.chunk_id,
        file_id=chunk.file_id,
        source_info=source_info,
        text_preview=chunk.text[:PREVIEW_CHARACTERS],
        quote=chunk.text[start:end],
        chars=(start, end),
        url=place_url(replace(chunk, source_info=source_info)),
        supported=True,
    )


def place_url(chunk: ChunkRecord) -> str:
    """Return the path of the original, with a fragment that opens the page or the second: `#page=5`, `#t=734.2`."""
    path = f"/files/{chunk.file_id}/content"
    if "page" in chunk.source_info:
        return f"{path}#page={chunk.source_info['page']}"
    if "start" in chunk.source_info:
        return f"{path}#t={chunk.source_info['start']:g}"
    return path
