"""`GET /`, `/health`, `/debug/stats` and `/metrics`: the library's state, and figures."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from deployments.errors import ServiceError
from serve_app import __version__
from serve_app.graph import LIBRARY
from serve_app.library_schemas import CheckedLibrary, LibraryHealth, LibraryState, Stats, Welcome
from serve_app.metrics import ACTIVE_FILES, REGISTRY
from serve_app.openapi import error_responses
from serve_app.request_info import context_of
from serve_app.web_page import PAGE_PATH

router = APIRouter()

MESSAGE = "Prism RAG System API"
CHECK_TIMEOUT_S = 3600.0
"""Verifying reads every original."""
STATE_TIMEOUT_S = 5.0
"""Health does not wait longer for a library that is busy."""


@router.head("/", include_in_schema=False)
@router.get(
    "/",
    summary="What this is",
    response_model=Welcome,
    responses={307: {"description": "To a browser (`Accept: text/html`): the page, `/app/`."}, **error_responses(403)},
)
async def root(request: Request) -> Response:
    if _prefers_html(request):
        return RedirectResponse(f"{PAGE_PATH}/", headers={"Vary": "Accept"})
    welcome = Welcome(message=MESSAGE, version=__version__).model_dump(mode="json")
    return JSONResponse(welcome, headers={"Vary": "Accept"})


def _prefers_html(request: Request) -> bool:
    """Return whether the client names HTML among what it accepts, as browsers do that open an address."""
    types = [part.split(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return "text/html" in types


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="The state of the library", response_model=LibraryHealth, responses=error_responses(403))
async def health(request: Request) -> JSONResponse:
    """Always 200. `/api/health` has the state of the whole server."""
    context = context_of(request)
    deadline = min(context.deadline(), context.seconds_from_now(STATE_TIMEOUT_S))
    try:
        stats = await context.service(LIBRARY).stats(deadline=deadline)
        state = LibraryState(state="ready", detail="", total_files=stats.total_files, active_files=stats.active_files)
    except ServiceError as error:
        state = LibraryState(state="unavailable", detail=str(error), total_files=0, active_files=0)
    status = "healthy" if state.state == "ready" else "degraded"
    return JSONResponse(LibraryHealth(status=status, version=__version__, library=state).model_dump(mode="json"))


@router.get(
    "/debug/stats", summary="Figures of the library", response_model=Stats, responses=error_responses(403, 500, 503)
)
async def stats(request: Request) -> JSONResponse:
    context = context_of(request)
    found = await context.service(LIBRARY).stats(deadline=context.deadline())
    answer = Stats(
        total_files=found.total_files,
        total_chunks=found.total_chunks,
        index_size=found.index_size,
        memory_usage=round(context.system.memory_usage_mb(), 1),
        size_bytes=found.size_bytes,
        table_rows=found.table_rows,
    )
    return JSONResponse(answer.model_dump(mode="json"))


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Prometheus's text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **error_responses(403, 500, 503),
    },
)
async def metrics(request: Request) -> Response:
    context = context_of(request)
    found = await context.service(LIBRARY).stats(deadline=context.deadline())
    ACTIVE_FILES.set(found.active_files)
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


@router.post(
    "/library/verify",
    summary="Compare the library's parts with each other",
    response_model=CheckedLibrary,
    responses=error_responses(403, 500, 503, 504),
)
async def verify(request: Request) -> JSONResponse:
    """Compares originals, rows, words and vectors; changes nothing."""
    context = context_of(request)
    report = await context.service(LIBRARY).verify(deadline=context.seconds_from_now(CHECK_TIMEOUT_S))
    return JSONResponse(CheckedLibrary(problems=report.problems, repaired=report.repaired).model_dump(mode="json"))


@router.post(
    "/library/rebuild",
    summary="Make the library's index anew",
    response_model=CheckedLibrary,
    responses=error_responses(403, 500, 503, 504),
)
async def rebuild(request: Request) -> JSONResponse:
    context = context_of(request)
    report = await context.service(LIBRARY).rebuild(deadline=context.seconds_from_now(CHECK_TIMEOUT_S))
    return JSONResponse(CheckedLibrary(problems=report.problems, repaired=report.repaired).model_dump(mode="json"))


@router.post(
    "/library/checkpoint",
    summary="Write everything into the database file, so that the folder can be copied",
    response_model=CheckedLibrary,
    responses=error_responses(403, 500, 503, 504),
)
async def checkpoint(request: Request) -> JSONResponse:
    context = context_of(request)
    await context.service(LIBRARY).checkpoint(deadline=context.seconds_from_now(CHECK_TIMEOUT_S))
    return JSONResponse(CheckedLibrary(problems=[], repaired=[]).model_dump(mode="json"))
