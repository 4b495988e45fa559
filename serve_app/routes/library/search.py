"""`POST /search`: the best passages of the library, with the places that they come from."""

import time

from fastapi import APIRouter
from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.library.types import FILE_TYPES, FileType, SearchHit, SearchRequest
from serve_app.citations import cite
from serve_app.graph import EMBEDDER, LIBRARY
from serve_app.library_schemas import ResultMetadata, SearchAnswer, SearchResult
from serve_app.metrics import SEARCHES
from serve_app.openapi import describe_json, error_responses
from serve_app.options import Options, parse_json_options
from serve_app.request_info import client_address, context_of
from serve_app.uploads import read_small_json

router = APIRouter()

MAX_BODY_BYTES = 64 * 1024
MODEL_TIMEOUT_S = 10.0
"""How long a search waits for a model that is being loaded; a download takes longer."""

NOTHING_FOUND = "Nothing in the library answers this."


class SearchOptions(Options):
    query: str = Field(min_length=1, max_length=1000, examples=["What are the budget allocations for 2024?"])
    limit: int = Field(10, ge=1, le=100)
    filter_type: FileType | list[FileType] | None = Field(None, description="Only files of this type or these types.")
    answer: bool = Field(True, description="Whether to answer from the results, with citations.")
    stream: bool = Field(
        False, description="Streamed answers are not available yet.", json_schema_extra={"const": False}
    )

    @field_validator("stream")
    @classmethod
    def _is_not_streamed(cls, stream: bool) -> bool:
        # Literal[False] would also take 0, which equals False.
        if stream:
            raise ValueError("must be false: streamed answers are not available yet")
        return stream


@router.post(
    "/search",
    summary="Find passages, by meaning and by word",
    response_model=SearchAnswer,
    responses=error_responses(400, 403, 429, 500, 503, 504),
    openapi_extra=describe_json(SearchOptions, {"query": "budget for travel", "limit": 5}),
)
async def search(request: Request) -> JSONResponse:
    """Words in double quotes must occur as they are. An answer quotes the best passage and cites it."""
    context = context_of(request)
    start, deadline = time.monotonic(), context.deadline()
    context.admission.count(client_address(request))
    query = parse_json_options(SearchOptions, await read_small_json(request, MAX_BODY_BYTES, deadline))
    with context.explain_timeouts("Search again when the server is less busy"):
        vector = await context.service(EMBEDDER).embed_query(
            query.query, deadline=min(deadline, context.seconds_from_now(MODEL_TIMEOUT_S))
        )
        wanted = SearchRequest(query.query, query.limit, _types(query))
        hits = await context.service(LIBRARY).search(wanted, vector, deadline=deadline)
        seconds = time.monotonic() - start
        await context.service(LIBRARY).add_history(query.query, len(hits), seconds * 1000, deadline=deadline)
    SEARCHES.inc()
    return JSONResponse(_answer(query, hits, seconds).model_dump(mode="json"))


def _answer(query: SearchOptions, hits: list[SearchHit], seconds: float) -> SearchAnswer:
    response, citations = "", []
    if query.answer and hits:
        best = hits[0].chunk
        response, citations = f'"{best.text.strip()}" [1]', [cite(1, best)]
    elif query.answer:
        response = NOTHING_FOUND
    return SearchAnswer(
        results=[_result(hit) for hit in hits],
        response=response,
        citations=citations,
        query_time=round(seconds, 4),
        answered_by="extractive" if query.answer else None,
    )


def _result(hit: SearchHit) -> SearchResult:
    chunk = hit.chunk
    return SearchResult(
        chunk_id=chunk.chunk_id,
        similarity=round(hit.similarity, 4),
        metadata=ResultMetadata(
            file_id=chunk.file_id, filename=chunk.filename, text=chunk.text, source_info=chunk.source_info
        ),
    )


def _types(query: SearchOptions) -> tuple[FileType, ...]:
    wanted = query.filter_type
    if wanted is None:
        return ()
    types = {wanted} if isinstance(wanted, str) else set(wanted)
    return tuple(file_type for file_type in FILE_TYPES if file_type in types)
