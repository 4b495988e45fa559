"""Citations: which passage backs an answer, and the path that opens its place."""

from deployments.library.types import ChunkRecord
from serve_app.library_schemas import Citation

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
    """Return the path of the original, with a fragment that opens the page or the second: `#page=5`, `#t=734.2`."""
    path = f"/files/{chunk.file_id}/content"
    if "page" in chunk.source_info:
        return f"{path}#page={chunk.source_info['page']}"
    if "start" in chunk.source_info:
        return f"{path}#t={chunk.source_info['start']:g}"
    return path
