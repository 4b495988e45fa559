"""Builds the HTTP API: a FastAPI app, described at `/docs`, that knows nothing of Ray."""

from collections.abc import Sequence
from importlib.resources import files
from pkgutil import resolve_name
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse

from serve_app import __version__, examples
from serve_app.context import AppContext
from serve_app.error_handlers import AnswerUnexpectedErrors, add_error_handlers
from serve_app.foreign_pages import RefuseForeignPages
from serve_app.graph import GRAPH, Node
from serve_app.odd_headers import LimitHeaders, NoticeClientsThatLeave
from serve_app.request_log import LogRequests
from serve_app.routes import analyze, analyze_ws, batch, health, mcp, openai
from serve_app.web_page import add_page

TITLE = "Multimodal analysis"
DESCRIPTION = """Describes images and videos, transcribes audio, and finds things again in a library, on this machine
and offline.

Each route shows how it is called with curl, Python (httpx) and TypeScript, where `picture`, `clip`, `recording` and
`article` are `File`s. All errors are JSON: `{"success": false, "error": {"code", "message"}, "timestamp"}`; the message
says what to do. Every response carries `X-Request-ID`, which the server's log has, too.

**Other programs' clients.** The routes below `/v1` are those of OpenAI's API, with its errors:
`{"error": {"message", "type", "param", "code"}}`. `POST /mcp` speaks the Model Context Protocol (streamable HTTP,
without sessions): its tools describe pictures, transcribe recordings, and search the library.

**WebSockets**, which OpenAPI cannot describe:

- `/api/analyze/ws` analyses several files over one connection. For each, send the text message
  `{"id": "1", "type": "image", "size": 51234, "options": {}}` (`type`: image, video or audio; `size` in bytes), then
  its bytes in binary messages of at most 1 MB, one file after another, as far as the server has given credit. Each
  message of the server is `{"id", "event", "data"}`: `credit` (`{"bytes"}`, what may be sent in addition), the events
  that the file's route sends with `Accept: text/event-stream`, and last `result`, `error` or `cancelled`.
  `{"id": "1", "cancel": true}` ends an analysis.
- `/ws` sends `{"seq", "file_id", "progress"}` for each change in the library; `?since=SEQ` replays what came after.
"""
DOCS_ASSETS_PATH = "/docs/assets"


def create_api(context: AppContext, nodes: Sequence[Node[Any]] = GRAPH) -> FastAPI:
    """Return the app with the routes for analyses and health, and those that `nodes` name."""
    serving = context.settings.serving
    api = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        # A redirect has no JSON body; with a trailing slash, a path is NOT_FOUND.
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            Middleware(LogRequests),
            Middleware(RefuseForeignPages, serving),
            Middleware(
                CORSMiddleware,
                allow_origins=serving.cors_origins,
                allow_methods=["GET", "HEAD", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Retry-After", "X-Should-Retry", "X-Request-ID", "Content-Range", "ETag"],
            ),
            Middleware(AnswerUnexpectedErrors),
            Middleware(LimitHeaders),
            Middleware(NoticeClientsThatLeave),
        ],
    )
    api.state.context = context
    add_error_handlers(api)
    routers = [analyze.router, analyze_ws.router, batch.router, health.router, openai.router, mcp.router]
    routers += [resolve_name(node.routes) for node in nodes if node.routes]
    for router in routers:
        api.include_router(router)
    api.state.endpoints = [path for router in routers for path in _posted_paths(router)]
    _complete_openapi(api)
    _add_docs(api)
    add_page(api)
    return api


def _complete_openapi(api: FastAPI) -> None:
    """Add examples; leave out status 422, which FastAPI adds: here a wrong parameter is INVALID_REQUEST, with 400."""
    make_schema = api.openapi

    def openapi() -> dict[str, Any]:
        is_made = api.openapi_schema is not None
        schema = make_schema()
        if not is_made:
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    operation["responses"].pop("422", None)
                    parts = (operation.get("description", ""), examples.describe(method.upper(), path))
                    operation["description"] = "\n\n".join(filter(None, parts))
            for name in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(name, None)
        return schema

    api.openapi = openapi  # type: ignore[method-assign]


def _add_docs(api: FastAPI) -> None:
    """Serve `/docs` with the assets of an installed package: an offline machine reaches no CDN."""
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    api.mount(DOCS_ASSETS_PATH, assets)

    @api.head("/docs", include_in_schema=False)
    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=TITLE,
            swagger_js_url=f"{DOCS_ASSETS_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_ASSETS_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_ASSETS_PATH}/favicon.png",
            # Swagger UI would send the schema to its own validator on the internet.
            swagger_ui_parameters={"validatorUrl": None},
        )


def _posted_paths(router: APIRouter) -> list[str]:
    """Return the paths in `/docs` that take a POST; health lists them."""
    routes = [route for route in router.routes if isinstance(route, APIRoute) and route.include_in_schema]
    return [route.path for route in routes if "POST" in (route.methods or ())]
