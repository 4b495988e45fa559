"""`POST /search`: the best passages of the library, and the answer from them, each sentence with its citations."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.library.types import FILE_TYPES, FileType, SearchHit, SearchRequest
from serve_app.answers import AnswerText, answer_parts
from serve_app.context import AppContext
from serve_app.graph import EMBEDDER, LIBRARY
from serve_app.library_schemas import ResultMetadata, SearchAnswer, SearchResult
from serve_app.live import formatted_events, stopped_event
from serve_app.metrics import SEARCHES
from serve_app.openapi import describe_json, describe_search_events, error_responses
from serve_app.options import Options, parse_json_options
from serve_app.request_info import client_address, context_of
from serve_app.server_sent_events import event_stream
from serve_app.uploads import read_small_json

router = APIRouter()

MAX_BODY_BYTES = 64 * 1024
EMBEDDER_TIMEOUT_S = 10.0
"""How long a search waits while the embedder loads. A download takes longer: then the search is MODEL_NOT_LOADED."""
MIN_HITS_FOR_ANSWER = 10
"""An answer is made from at least so many passages, even if `limit` is lower."""


class Query(Options):
    query: str = Field(min_length=1, max_length=1000, examples=["What are the budget allocations for 2024?"])
    limit: int = Field(10, ge=1, le=100)
    filter_type: FileType | list[FileType] | None = Field(None, description="Only files of this type or these types.")


class SearchOptions(Query):
    answer: bool = Field(True, description="Whether to answer from the results, with citations.")
    stream: bool = Field(False, description="Whether to send server-sent events, each sentence once it is checked.")


@router.post(
    "/search",
    summary="Find passages, by meaning and by word, and answer from them",
    response_model=SearchAnswer,
    responses={200: describe_search_events(), **error_responses(400, 403, 429, 500, 503, 504)},
    openapi_extra=describe_json(SearchOptions, {"query": "budget for travel", "limit": 5}),
)
async def search(request: Request) -> Response:
    """Words in double quotes must occur as they are.

    Every sentence of the answer is backed by the words that it cites. With `stream` there are the events `results`,
    `token` (text to add to the answer), `citation` and `done`; `error` if the answer fails.
    """
    context = context_of(request)
    deadline = context.deadline()
    context.admission.count(client_address(request))
    query = parse_json_options(SearchOptions, await read_small_json(request, MAX_BODY_BYTES, deadline))
    events = await start_search(context, query, deadline)
    if query.stream:
        return event_stream(formatted_events(events, request), if_cancelled=stopped_event())
    return JSONResponse(await search_body(events))


async def start_search(
    context: AppContext, query: SearchOptions, deadline: float
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Find the passages; returns the events of the search, with name and data. Raises ServiceErrors."""
    start = time.monotonic()
    with context.explain_timeouts("Search again when the server is less busy"):
        vector = await context.service(EMBEDDER).embed_query(
            query.query, deadline=min(deadline, context.seconds_from_now(EMBEDDER_TIMEOUT_S))
        )
        limit = max(query.limit, MIN_HITS_FOR_ANSWER) if query.answer else query.limit
        wanted = SearchRequest(query.query, limit, _types(query))
        hits = await context.service(LIBRARY).search(wanted, vector, deadline=deadline)
        results = [_result(hit) for hit in hits[: query.limit]]
        seconds = time.monotonic() - start
        await context.service(LIBRARY).add_history(query.query, len(results), seconds * 1000, deadline=deadline)
    SEARCHES.inc()
    body = SearchAnswer(
        results=results, response="", citations=[], query_time=round(seconds, 4), answered_by=None, answer_note=""
    )
    return _events(context, query, hits, body, deadline)


async def search_body(events: AsyncGenerator[tuple[str, dict[str, Any]], None]) -> dict[str, Any]:
    """Return what the events of a search are together: the response without `stream`."""
    content: dict[str, Any] = {}
    async with aclosing(events):
        async for name, data in events:
            if name in ("results", "done"):
                content |= data
    return content


async def _events(
    context: AppContext, query: SearchOptions, hits: list[SearchHit], body: SearchAnswer, deadline: float
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Yield name and data of the events of a search that has its results. Those of `results` and `done` are together
    what a search without `stream` returns."""
    yield "results", body.model_dump(mode="json", include={"results", "query_time"})
    if query.answer:
        text = AnswerText(hits, show_unsupported=context.settings.answerer.show_unsupported)
        async with aclosing(answer_parts(context, query.query, hits, deadline)) as parts:
            async for part in parts:
                added, citations = text.add(part)
                if added:
                    yield "token", {"text": added}
                for citation in citations:
                    yield "citation", citation.model_dump(mode="json")
        body = _with_answer(body, text)
    yield "done", body.model_dump(mode="json", exclude={"results"})


def _with_answer(body: SearchAnswer, text: AnswerText) -> SearchAnswer:
    return body.model_copy(
        update={
            "response": text.response,
            "citations": text.citations,
            "answered_by": text.answered_by,
            "answer_note": text.note,
        }
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
