"""`GET` and `DELETE /search/history`."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from serve_app.graph import LIBRARY
from serve_app.library_schemas import ClearedHistory, SearchHistory, history_body
from serve_app.openapi import error_responses
from serve_app.request_info import context_of

router = APIRouter()


@router.get(
    "/search/history",
    summary="Earlier searches",
    response_model=SearchHistory,
    responses=error_responses(400, 403, 500, 503),
)
async def history(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> JSONResponse:
    context = context_of(request)
    page = await context.service(LIBRARY).history(limit, offset, deadline=context.deadline())
    entries = [history_body(entry) for entry in page.history]
    answer = SearchHistory(history=entries, total=page.total, limit=limit, offset=offset)
    return JSONResponse(answer.model_dump(mode="json"))


@router.delete(
    "/search/history",
    summary="Forget earlier searches",
    response_model=ClearedHistory,
    responses=error_responses(403, 500, 503),
)
async def clear_history(request: Request) -> JSONResponse:
    context = context_of(request)
    deleted = await context.service(LIBRARY).clear_history(deadline=context.deadline())
    return JSONResponse(ClearedHistory(deleted=deleted).model_dump(mode="json"))
