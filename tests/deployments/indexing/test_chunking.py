import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.indexing import chunking
from deployments.indexing.chunking import Chunker
from deployments.indexing.joined_text import clean
from deployments.indexing.pieces import Break, Piece
from deployments.library.types import NewChunk
from tests.deployments.indexing.fakes import count_tokens, count_words, texts


def pieces_of(*words: str, separator: str = " ") -> list[Piece]:
    return [
        Piece(text, {"page": number, "box": []}, {"type": "document"}, separator)
        for number, text in enumerate(words, 1)
    ]


def cut(pieces: Sequence[Piece], max_tokens: int = 200, enough_tokens: int | None = None) -> list[NewChunk]:
    async def stream() -> AsyncIterator[Piece]:
        for piece in pieces:
            yield piece

    async def collect() -> list[NewChunk]:
        return [chunk async for chunk in Chunker(max_tokens, count_tokens, enough_tokens).chunks(stream())]

    return asyncio.run(collect())


def border(text: str, break_before: Break = Break.SENTENCE) -> Piece:
    return Piece(text, {"page": 2, "box": []}, {"type": "document"}, " ", break_before, is_border=True)


def test_sentences_stay_whole() -> None:
    sentences = [f"This is the sentence with the number {number}." for number in range(20)]
    chunks = cut(pieces_of(" ".join(sentences)), max_tokens=30)
    assert sorted(text.count(".") for text in texts(chunks)) == [2, 3, 3, 3, 3, 3, 3]
    assert " ".join(texts(chunks)) == " ".join(sentences)


def test_lines_are_joined_to_sentences_and_hyphenated_words_to_words() -> None:
    [chunk] = cut(pieces_of("The foot\u00ad", "ball play\u00aders of", "Madrid."))
    assert chunk.text == "The football players of Madrid."
    assert [chunk.text[part.start : part.end] for part in chunk.parts] == ["The foot", "ball players of", "Madrid."]
    assert [part.place["page"] for part in chunk.parts] == [1, 2, 3]


def test_a_sentence_that_is_too_long_is_cut_at_clauses() -> None:
    sentence = "when it rains in the morning, we stay at home, and when the sun shines again, we go out."
    assert texts(cut(pieces_of(sentence), max_tokens=12)) == [
        "when it rains in the morning, we stay at home,",
        "and when the sun shines again, we go out.",
    ]


def test_a_clause_that_is_too_long_is_cut_between_words() -> None:
    assert texts(cut(pieces_of("one two three four five six seven"), max_tokens=3)) == [
        "one two",
        "three four",
        "five six seven",
    ]


def test_a_text_without_spaces_is_cut_between_characters() -> None:
    text = "天" * 100
    chunks = cut(pieces_of(text), max_tokens=20)
    assert "".join(texts(chunks)) == text
    assert max(len(chunk.text) for chunk in chunks) <= 20


def test_chunks_are_of_whole_paragraphs_where_that_takes_few_more() -> None:
    paragraphs = [" ".join(f"It says {number} of {count}." for count in range(5)) for number in range(4)]
    pieces = [Piece(text, {"page": 1, "box": []}, {}, "\n", Break.SENTENCE) for text in paragraphs]
    assert count_words(paragraphs[0]) == 30
    assert texts(cut(pieces, max_tokens=40)) == paragraphs


def test_a_heading_stays_with_the_text_below_it() -> None:
    texts_in = ["One two three four five six.", "The heading", "Seven eight nine ten eleven."]
    pieces = [Piece(text, {"page": 1, "box": []}, {}, "\n", Break.SENTENCE) for text in texts_in]
    assert texts(cut(pieces, max_tokens=9)) == [texts_in[0], "\n".join(texts_in[1:])]


def test_no_chunk_crosses_a_border() -> None:
    assert texts(cut([*pieces_of("The first page."), border("The second page.")])) == [
        "The first page.",
        "The second page.",
    ]


def test_a_sentence_may_cross_a_border_and_its_chunk_ends_with_it() -> None:
    first, second = cut([*pieces_of("One. It goes"), border("on here. Two.", Break.CLAUSE)])
    assert (first.text, second.text) == ("One. It goes on here.", "Two.")
    assert [part.place["page"] for part in first.parts] == [1, 2]
    assert first.source_info["page"] == 1
    assert second.source_info["page"] == 2


def test_the_border_before_an_empty_piece_holds_for_the_next() -> None:
    assert texts(cut([*pieces_of("First"), border(" \u00ad"), *pieces_of("second")])) == ["First", "second"]


def test_short_sentences_are_joined_until_there_is_enough() -> None:
    text = "Yes. No. This is a long sentence of many words. So is this one, as you can see."
    assert texts(cut(pieces_of(text), max_tokens=24, enough_tokens=8)) == [
        "Yes. No. This is a long sentence of many words.",
        "So is this one, as you can see.",
    ]


def test_characters_that_cannot_be_stored_are_left_out() -> None:
    assert texts(cut(pieces_of("a\0 b\ud800", "c"))) == ["a b c"]


def test_no_text_makes_no_chunk() -> None:
    assert cut([]) == cut(pieces_of("", " \n ")) == []


def test_a_long_stream_is_cut_before_it_ends() -> None:
    """Memory is bounded: while the 10,000 pages of a PDF arrive, only a few of them are held."""
    page = "This sentence stands on every page. " * 40
    given: list[int] = []

    async def stream() -> AsyncIterator[Piece]:
        for number in range(200):
            given.append(number)
            yield Piece(page, {"page": number, "box": []}, {"type": "document"}, " ", Break.SENTENCE, True)

    async def largest_lag() -> int:
        lag = 0
        async for chunk in Chunker(200, count_tokens).chunks(stream()):
            lag = max(lag, given[-1] - chunk.source_info["page"])
        return lag

    assert asyncio.run(largest_lag()) * len(page) < 2 * chunking.MAX_BUFFERED_CHARACTERS


WORDS = st.text(st.sampled_from("aBc1 .,!?\n-\u00ad\"'()。、天气é\u0301_"), max_size=30)
PIECES = st.lists(
    st.tuples(WORDS, st.sampled_from(["", " ", "\n"]), st.sampled_from(Break), st.booleans()), max_size=12
)


@given(PIECES, st.integers(1, 30), st.one_of(st.none(), st.integers(1, 8)), st.sampled_from([1, 40, 20_000]))
def test_no_text_is_lost_and_none_is_doubled(
    raw: list[tuple[str, str, Break, bool]], max_tokens: int, enough: int | None, buffered: int
) -> None:
    pieces = [
        Piece(text, {"page": number, "box": []}, {"type": "document", "page": number}, separator, before, is_border)
        for number, (text, separator, before, is_border) in enumerate(raw)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "MAX_BUFFERED_CHARACTERS", buffered)
        chunks = cut(pieces, max_tokens, enough)
    assert _without_space("".join(texts(chunks))) == _without_space("".join(clean(piece.text) for piece in pieces))
    by_piece = dict.fromkeys(range(len(pieces)), "")
    for chunk in chunks:
        assert chunk.text == chunk.text.strip() != ""
        assert chunk.parts[0].start == 0
        assert chunk.parts[-1].end == len(chunk.text)
        assert chunk.source_info["page"] == chunk.parts[0].place["page"]
        for part, following in pairwise(chunk.parts):
            assert part.end <= following.start
            assert chunk.text[part.end : following.start] in ("", " ", "\n")
        for part in chunk.parts:
            assert part.start < part.end
            by_piece[part.place["page"]] += chunk.text[part.start : part.end]
        # A word that cannot be cut further may be longer.
        assert count_words(chunk.text) <= max(max_tokens, chunking._CHARACTERS_PER_CUT)
    assert [_without_space(text) for text in by_piece.values()] == [
        _without_space(clean(piece.text)) for piece in pieces
    ]


@given(PIECES, st.integers(1, 30))
def test_only_a_sentence_crosses_a_border(raw: list[tuple[str, str, Break, bool]], max_tokens: int) -> None:
    pieces = [
        Piece(f"{text}x", {"page": number, "box": []}, {"type": "document"}, " ", before, is_border)
        for number, (text, _, before, is_border) in enumerate(raw)
    ]
    for chunk in cut(pieces, max_tokens):
        for part, following in pairwise(chunk.parts):
            crossed = pieces[part.place["page"] + 1 : following.place["page"] + 1]
            assert not any(piece.is_border and piece.break_before is Break.SENTENCE for piece in crossed)


def _without_space(text: str) -> str:
    return "".join(text.split())
