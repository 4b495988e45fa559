"""The route of the Model Context Protocol (streamable HTTP): https://modelcontextprotocol.io/specification."""

import asyncio
from pkgutil import resolve_name

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serve_app.request_info import context_of
from serve_app.uploads import read_small_body

router = APIRouter()

MAX_BODY_BYTES = 64 * 1024


@router.post("/mcp", include_in_schema=False)
async def mcp(request: Request) -> Response:
    body = await read_small_body(request, MAX_BODY_BYTES, context_of(request).deadline())
    # Imported at the first call, because the SDK takes a second and 26 MB; in a thread, so that others go on meanwhile.
    answer = await asyncio.to_thread(resolve_name, "serve_app.routes.mcp.server:McpResponse")
    response: Response = answer(bytes(body))
    return response
