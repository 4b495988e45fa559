"""The sentences of the hits, and which of them go to the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from deployments.answerer.orders import between_control_tokens, is_order
from deployments.answerer.words import Word, words_of
from deployments.library.types import ChunkRecord, SearchHit
from deployments.sentences import clause_starts, sentence_ranges, word_starts

MAX_SENTENCE_CHARACTERS = 1000
"""Longer ones, such as tables without full stops, are cut between clauses, or else between words."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of a chunk."""

    chunk_id: str
    number: int
    """In its chunk, from 0."""
    start: int
    end: int
    text: str
    words: tuple[Word, ...]
    is_order: bool
    """Whether it tells the model what to do, so that it is not to be used."""


@dataclass(frozen=True)
class Passage:
    """Text of one place for the model: sentences of a chunk, or of successive chunks of a file."""

    title: str
    """The name of the file, without its ending."""
    text: str


def is_question(sentence: str) -> bool:
    """Return whether a sentence of a document asks something, so that it backs nothing and answers nothing."""
    return sentence.rstrip(" \n\t\"'”’»)]").endswith(("?", "？", "؟"))


def sentences_of(chunk: ChunkRecord) -> tuple[Sentence, ...]:
    """Return the sentences of a chunk in their order."""
    return _sentences(chunk.chunk_id, chunk.text)


@lru_cache(maxsize=256)
def _sentences(chunk_id: str, text: str) -> tuple[Sentence, ...]:
    parts = [
        (*piece, begins)
        for start, end in sentence_ranges(text)
        for part_start, part_end, begins in between_control_tokens(text, start, end)
        for piece in _pieces(text, part_start, part_end)
    ]
    return tuple(
        Sentence(
            chunk_id,
            number,
            start,
            end,
            text[start:end],
            words_of(text[start:end]),
            begins or is_order(text[start:end]),
        )
        for number, (start, end, begins) in enumerate(parts)
    )


def _pieces(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return a sentence in pieces of bounded length, without white space around them; none of an empty one."""
    words = text[start:end].strip()
    if not words:
        return []
    start = text.index(words, start)
    end = start + len(words)
    pieces = []
    while end - start > MAX_SENTENCE_CHARACTERS:
        window = text[start : start + MAX_SENTENCE_CHARACTERS]
        cuts = clause_starts(window) or word_starts(window) or [MAX_SENTENCE_CHARACTERS]
        pieces.append((start, start + len(window[: cuts[-1]].rstrip())))
        start += cuts[-1]
    return [*pieces, (start, end)]


def choose_passages(
    ranked: Sequence[Sentence], hits: Sequence[SearchHit], max_tokens: int, count_tokens: Callable[[str], int]
) -> list[Passage]:
    """Return the best sentences with the ones before and after them, as many as fit into `max_tokens`.

    `ranked` are the sentences of the hits, the best first. The passages are in the order of the hits; within a passage
    the sentences are in the order of the document. So 330 tokens hold as many answers as 600 tokens of whole chunks
    (SQuAD's training set, 600 questions: .95). The best sentence is there even if it alone is longer.
    """
    chunks = {hit.chunk.chunk_id: hit.chunk for hit in hits}
    chosen: set[tuple[str, int]] = set()
    room = max_tokens
    for sentence in ranked:
        of_chunk = sentences_of(chunks[sentence.chunk_id])
        nearby = of_chunk[max(0, sentence.number - 1) : sentence.number + 2]
        for wanted in (nearby, (sentence,)):
            new = [one for one in wanted if not one.is_order and (one.chunk_id, one.number) not in chosen]
            tokens = sum(count_tokens(one.text) for one in new)
            if tokens <= room or not chosen and len(wanted) == 1:
                chosen.update((one.chunk_id, one.number) for one in new)
                room -= tokens
                break
        if room <= 0:
            break
    return _passages(hits, chosen)


def _passages(hits: Sequence[SearchHit], chosen: set[tuple[str, int]]) -> list[Passage]:
    """Return a passage for each place, in the order of each place's best hit."""
    used = [hit for hit in hits if any(chunk_id == hit.chunk.chunk_id for chunk_id, _ in chosen)]
    places: list[list[ChunkRecord]] = []
    in_order = sorted((hit.chunk for hit in used), key=lambda chunk: (chunk.file_id, chunk.number))
    for _, run in groupby(enumerate(in_order), key=lambda one: (one[1].file_id, one[1].number - one[0])):
        places.append([chunk for _, chunk in run])
    ranks = {hit.chunk.chunk_id: rank for rank, hit in enumerate(hits)}
    places.sort(key=lambda place: min(ranks[chunk.chunk_id] for chunk in place))
    return [
        Passage(
            place[0].filename.rpartition(".")[0] or place[0].filename,
            " ".join(
                sentence.text
                for chunk in place
                for sentence in sentences_of(chunk)
                if (chunk.chunk_id, sentence.number) in chosen
            ),
        )
        for place in places
    ]
