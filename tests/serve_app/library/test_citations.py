from typing import Any

import pytest

from deployments.library.types import ChunkRecord
from serve_app.citations import cite, place_url


def chunk(source_info: dict[str, Any], text: str = "Text.") -> ChunkRecord:
    return ChunkRecord("id", 12, "a.pdf", "document", 0, text, source_info, [])


@pytest.mark.parametrize(
    ("source_info", "url"),
    [
        ({"type": "document", "page": 5}, "/files/12/content#page=5"),
        ({"type": "audio", "start": 734.2, "end": 741.0}, "/files/12/content#t=734.2"),
        ({"type": "video", "start": 0.0, "end": 2.0}, "/files/12/content#t=0"),
        ({"type": "document", "heading": ["2 Budget"], "paragraph": 17}, "/files/12/content"),
        ({"type": "image"}, "/files/12/content"),
    ],
)
def test_the_url_opens_the_place(source_info: dict[str, Any], url: str) -> None:
    assert place_url(chunk(source_info)) == url


def test_a_citation_has_the_passages_first_100_characters_and_all_of_its_text() -> None:
    citation = cite(3, chunk({"type": "image"}, "x" * 150))
    assert (citation.citation_number, citation.text_preview, citation.quote) == (3, "x" * 100, "x" * 150)
    assert citation.supported
