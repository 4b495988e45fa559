"""Answers MCP requests with the protocol's official SDK, which this module imports.

There are no sessions: each POST is complete in itself, and all that the SDK starts for it ends with it, also when the
client leaves. The SDK's own check of `Host` and `Origin` is off: `RefuseForeignPages` has made it.
"""

import json
import logging
from contextlib import aclosing
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from deployments.errors import InvalidRequest
from serve_app import __version__
from serve_app.error_handlers import as_service_error, error_body
from serve_app.live import live_events
from serve_app.progress import Emit
from serve_app.request_info import client_address, context_of
from serve_app.routes.mcp.tools import TOOLS, Caller

INSTRUCTIONS = (
    "Everything is worked on by models on the user's own machine, so a call may take a minute. Files are named by "
    "their path, and must be in a folder that the user has allowed."
)

Context = ServerRequestContext[object, Request]

logging.getLogger("mcp").setLevel(logging.WARNING)  # it logs the beginning and the end of each request


class McpResponse(Response):
    """The answer to a request whose body has been read."""

    def __init__(self, request_body: bytes) -> None:
        super().__init__()
        self._request_body = request_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = [{"type": "http.request", "body": self._request_body, "more_body": False}]

        async def receive_body_first() -> Message:
            return messages.pop() if messages else await receive()

        manager = StreamableHTTPSessionManager(_server(), stateless=True)
        async with manager.run():
            await manager.handle_request(scope, receive_body_first, send)


def _server() -> Server[object]:
    return Server(
        "prism", version=__version__, instructions=INSTRUCTIONS, on_list_tools=_list_tools, on_call_tool=_call_tool
    )


async def _list_tools(_context: Context, _page: PaginatedRequestParams | None) -> ListToolsResult:
    tools = [
        Tool(
            name=tool.name,
            description=tool.description,
            input_schema=tool.arguments.model_json_schema(),
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        )
        for tool in TOOLS
    ]
    return ListToolsResult(tools=tools)


async def _call_tool(sdk_context: Context, call: CallToolRequestParams) -> CallToolResult:
    """Return the answer of a tool; an error is an answer too, so that the language model can read what to do."""
    request = sdk_context.request
    assert request is not None
    context = context_of(request)
    tool = next((tool for tool in TOOLS if tool.name == call.name), None)

    async def work(emit: Emit) -> dict[str, Any]:
        if tool is None:
            names = ", ".join(tool.name for tool in TOOLS)
            raise InvalidRequest(f"There is no tool {call.name[:60]!r}; there are {names}.")
        follow = emit if "progress_token" in (sdk_context.meta or {}) else None
        caller = Caller(context, client_address(request), context.deadline(), follow)
        return await tool.call(call.arguments or {}, caller)

    try:
        async with aclosing(live_events(work)) as events:
            number = 0
            async for name, data in events:
                if name == "progress":
                    number += 1
                    await sdk_context.session.report_progress(number, message=_message(data))
        body = data
    except Exception as error:
        return _error_result(error, request)
    text = json.dumps(body, ensure_ascii=False)
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=body)


def _message(progress: dict[str, Any]) -> str:
    """Return what is shown of an event `progress`. The protocol's own number must grow, so it cannot be the fraction,
    which begins anew with each stage."""
    done = "" if progress["fraction"] is None else f" {progress['fraction']:.0%}"
    left = "" if progress["eta_seconds"] is None else f", {progress['eta_seconds']:.0f} s left"
    return f"{progress['stage']}{done}{left}"


def _error_result(error: Exception, request: Request) -> CallToolResult:
    shown = as_service_error(error, request)
    when = "" if shown.retry_after_s is None else f" (Try again in {shown.retry_after_s} s.)"
    return CallToolResult(
        content=[TextContent(type="text", text=f"{shown}{when}")],
        structured_content=error_body(shown).model_dump(mode="json"),
        is_error=True,
    )
