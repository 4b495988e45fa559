"""Citations: numbered quotes of passages, each with the paths that open its place."""

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

from deployments.answerer.types import AnswerSentence, Quote
from deployments.library.types import ChunkRecord, SearchHit
from deployments.source_info import narrowed
from serve_app.library_schemas import Citation
from serve_app.marks import Chars
from serve_app.paragraph_page import paragraph_anchor

PREVIEW_CHARACTERS = 100


class Citations:
    """Numbers the quotes of an answer in the order in which they are first cited."""

    def __init__(self, hits: Sequence[SearchHit]) -> None:
        """`hits` have all passages that may be cited."""
        self._chunks = {hit.chunk.chunk_id: hit.chunk for hit in hits}
        self._numbers: dict[Quote, int] = {}
        self.all: list[Citation] = []

    def numbers(self, sentence: AnswerSentence) -> list[int]:
        """Return the numbers of a sentence's quotes; those that were not cited before are added to `all`."""
        for quote in sentence.quotes:
            if quote not in self._numbers:
                self._numbers[quote] = len(self._numbers) + 1
                self.all.append(cite(self._numbers[quote], self._chunks[quote.chunk_id], quote.start, quote.end))
        return [self._numbers[quote] for quote in dict.fromkeys(sentence.quotes)]


def cite(number: int, chunk: ChunkRecord, start: int, end: int) -> Citation:
    """Return a citation of the characters from `start` to `end` (exclusive) of a chunk."""
    cited = replace(chunk, source_info=narrowed(chunk.source_info, chunk.parts, start, end))
    return Citation(
        citation_number=number,
        chunk_id=chunk.chunk_id,
        file_id=chunk.file_id,
        source_info=cited.source_info,
        text_preview=chunk.text[:PREVIEW_CHARACTERS],
        quote=chunk.text[start:end],
        chars=(start, end),
        url=place_url(cited),
        page_url=picture_url(cited, (start, end)),
        supported=True,
    )


def place_url(chunk: ChunkRecord) -> str:
    """Return the path that opens the place of a chunk.

    That is the original at a page (`#page=5`, RFC 8118), a second (`#t=734.2`) or a box in pixels
    (`#xywh=pixel:40,30,200,20`, both W3C Media Fragments 1.0), or the text of a document without pages at a paragraph.
    """
    place = chunk.source_info
    path = f"/files/{chunk.file_id}/content"
    if "page" in place:
        return f"{path}#page={place['page']}"
    if "paragraph" in place:
        return f"/files/{chunk.file_id}/text#{paragraph_anchor(place['paragraph'])}"
    if "start" in place:
        return f"{path}#t={place['start']:g}"
    if "image_region" in place:
        region = place["image_region"]
        return f"{path}#xywh=pixel:{region['x']},{region['y']},{region['width']},{region['height']}"
    return path


def picture_url(chunk: ChunkRecord, chars: Chars | None = None) -> str | None:
    """Return the path of a picture that shows a chunk's place; None for sound and for documents without pages.

    That is the page of a PDF, or the picture itself, with the chunk's lines or only `chars` marked, or the frame of a
    video.
    """
    place = chunk.source_info
    if place["type"] == "video":
        return f"/files/{chunk.file_id}/frames/{place['start']:g}.jpg"
    if "page" not in place and place["type"] != "image":
        return None
    query = {"chunk_id": chunk.chunk_id}
    if chars is not None:
        query["chars"] = f"{chars[0]}-{chars[1]}"
    return f"/files/{chunk.file_id}/pages/{place.get('page', 1)}.png?{urlencode(query)}"
