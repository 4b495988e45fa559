"""Citations: which passage backs an answer, and the paths that open its place."""

from urllib.parse import urlencode

from deployments.library.types import ChunkRecord
from serve_app.library_schemas import Citation
from serve_app.marks import Chars
from serve_app.paragraph_page import paragraph_anchor

PREVIEW_CHARACTERS = 100


def cite(number: int, chunk: ChunkRecord) -> Citation:
    """Return a citation of a whole chunk."""
    return Citation(
        citation_number=number,
        chunk_id=chunk.chunk_id,
        file_id=chunk.file_id,
        source_info=chunk.source_info,
        text_preview=chunk.text[:PREVIEW_CHARACTERS],
        quote=chunk.text,
        url=place_url(chunk),
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
    """Return the path of a chunk's place as a picture, None if it has none: a page with its lines marked, or only
    `chars` of them, the same of a picture, or the frame of a video."""
    place = chunk.source_info
    if place["type"] == "video":
        return f"/files/{chunk.file_id}/frames/{place['start']:g}.jpg"
    if "page" not in place and place["type"] != "image":
        return None
    query = {"chunk_id": chunk.chunk_id}
    if chars is not None:
        query["chars"] = f"{chars[0]}-{chars[1]}"
    return f"/files/{chunk.file_id}/pages/{place.get('page', 1)}.png?{urlencode(query)}"
