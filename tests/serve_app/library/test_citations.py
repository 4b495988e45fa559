from typing import Any

import pytest

from deployments.library.types import ChunkRecord
from serve_app.citations import cite, picture_url, place_url


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


def test_a_citation_has_the_passages_first_100_characters_and_all_of_its_text() -> None:
    citation = cite(3, chunk({"type": "image"}, "x" * 150))
    assert (citation.citation_number, citation.text_preview, citation.quote) == (3, "x" * 100, "x" * 150)
    assert citation.supported
