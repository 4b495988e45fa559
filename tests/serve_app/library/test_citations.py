from dataclasses import replace
from typing import Any

import pytest

from deployments.answerer.types import AnswerSentence, Quote
from deployments.library.types import ChunkPart, ChunkRecord, SearchHit
from serve_app.citations import Citations, cite, picture_url, place_url


def chunk(source_info: dict[str, Any], text: str = "Text.") -> ChunkRecord:
    return ChunkRecord("id", 12, "a.pdf", "document", 0, text, source_info, [])


@pytest.mark.parametrize(
    ("source_info", "url"),
    [
        ({"type": "document", "page": 5}, "/files/12/content#page=5"),
        ({"type": "audio", "start": 734.2, "end": 741.0}, "/files/12/content#t=734.2"),
        ({"type": "video", "start": 0.0, "end": 2.0}, "/files/12/content#t=0"),
        ({"type": "document", "heading": ["2 Budget"], "paragraph": 17}, "/files/12/text#paragraph-17"),
        (
            {"type": "image", "image_region": {"x": 40, "y": 30, "width": 200, "height": 20}},
            "/files/12/content#xywh=pixel:40,30,200,20",
        ),
        ({"type": "image"}, "/files/12/content"),
    ],
)
def test_the_url_opens_the_place(source_info: dict[str, Any], url: str) -> None:
    assert place_url(chunk(source_info)) == url


@pytest.mark.parametrize(
    ("source_info", "chars", "url"),
    [
        ({"type": "document", "page": 5}, None, "/files/12/pages/5.png?chunk_id=id"),
        ({"type": "document", "page": 5}, (120, 188), "/files/12/pages/5.png?chunk_id=id&chars=120-188"),
        ({"type": "image"}, (0, 9), "/files/12/pages/1.png?chunk_id=id&chars=0-9"),
        ({"type": "video", "start": 2.5, "end": 4.0}, (0, 9), "/files/12/frames/2.5.jpg"),
        ({"type": "audio", "start": 2.5, "end": 4.0}, (0, 9), None),
        ({"type": "document", "heading": [], "paragraph": 17}, (0, 9), None),
    ],
)
def test_a_place_that_can_be_seen_has_a_picture(
    source_info: dict[str, Any], chars: tuple[int, int] | None, url: str | None
) -> None:
    assert picture_url(chunk(source_info), chars) == url


def test_a_citation_has_the_quoted_words_and_the_passages_first_100_characters() -> None:
    text = "x" * 150 + " The end."
    citation = cite(3, chunk({"type": "image"}, text), 151, 159)
    assert (citation.citation_number, citation.text_preview) == (3, "x" * 100)
    assert (citation.quote, citation.chars) == ("The end.", (151, 159))
    assert citation.supported


def test_a_citation_leads_to_the_words_and_not_to_the_whole_passage() -> None:
    parts = [
        ChunkPart(0, 5, {"start": 10.0, "end": 10.5}),
        ChunkPart(6, 12, {"start": 10.5, "end": 11.0}),
        ChunkPart(13, 17, {"start": 31.0, "end": 31.5}),
    ]
    info = {"type": "video", "origin": "speech", "start": 10.0, "end": 31.5}
    record = replace(chunk(info, "Hello dear all."), parts=parts)
    citation = cite(1, record, 6, 12)
    assert (citation.source_info["start"], citation.source_info["end"]) == (10.5, 11.0)
    assert citation.url == "/files/12/content#t=10.5"
    assert citation.page_url == "/files/12/frames/10.5.jpg"


def test_each_distinct_quote_has_a_number_and_keeps_it() -> None:
    citations = Citations([SearchHit(chunk({"type": "document"}, "One. Two."), 1.0, 1.0)])
    one, two = Quote("id", 0, 4), Quote("id", 5, 9)
    assert citations.numbers(AnswerSentence("One.", (one,), supported=True)) == [1]
    assert citations.numbers(AnswerSentence("Two and one.", (two, one, two), supported=True)) == [2, 1]
    assert [(citation.citation_number, citation.quote) for citation in citations.all] == [(1, "One."), (2, "Two.")]
