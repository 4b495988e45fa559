"""Bounds what the headers of a request can do, before and behind Serve's proxy.

Serve gives meaning to some headers that any client can send: a timeout of its own, the routing of models and sessions,
not noticing that the client has left. It reads them as UTF-8, fails in plain text if they are not, and sends any
`X-Request-ID` back. No client of this API needs them.
"""

import asyncio
import re

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import InvalidRequest
from serve_app.slow_readers import DropSlowReaders
from serve_app.upload_memory import GiveBackMemory, PaceUploads

PROXY_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
PROXY_CALLBACK = "serve_app.odd_headers:proxy_middleware"
"""With this value of that variable, Serve's proxy runs our middleware first."""

MAX_HEADER_BYTES = 32 * 1024
"""Of all names and values. uvicorn reads more, and so does Serve; ordinary requests have 1 kB."""

_SERVES_OWN = {
    b"serve_multiplexed_model_id",
    b"x_session_id",
    b"x_request_timeout_seconds",
    b"x_request_disconnect_disabled",
}
"""Headers with a meaning for Serve; it takes `-` and `_` for the same."""
_REQUEST_ID = re.compile(rb"[\w.:-]{1,128}", re.ASCII)


def proxy_middleware() -> list[Middleware]:
    """Return what Serve's proxy is to run before itself."""
    classes = (DropOddHeaders, DropSlowReaders, GiveBackMemory, PaceUploads)
    return [Middleware(cls) for cls in classes]


class DropOddHeaders:
    """Drops Serve's own headers, header names that are not ASCII, and request ids that are not safe to send back.

    Serve makes up an id for a request without one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            scope = {**scope, "headers": [header for header in scope["headers"] if not _is_odd(*header)]}
        await self._app(scope, receive, send)


class LimitHeaders:
    """Refuses requests whose headers are too large, with InvalidRequest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            num_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
            if num_bytes > MAX_HEADER_BYTES:
                raise InvalidRequest(
                    f"The headers of the request have {num_bytes} bytes; at most {MAX_HEADER_BYTES} are allowed."
                )
        await self._app(scope, receive, send)


class NoticeClientsThatLeave:
    """Cancels the work for a client that has left, where `x-request-disconnect-disabled` keeps Serve from doing so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(_normalized(name) in _SERVES_OWN for name, _ in scope["headers"]):
            await self._watch(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body = asyncio.Event()

        async def receive_and_note_end() -> Message:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                has_body.set()
            return message

        async def wait_until_gone() -> None:
            await has_body.wait()
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self._app(scope, receive_and_note_end, send))
        gone = asyncio.ensure_future(wait_until_gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            is_done = work.done()
            work.cancel()
            await asyncio.wait({work, gone})
            if not gone.cancelled():
                gone.exception()  # else asyncio logs that it was never retrieved
        if is_done or not work.cancelled():
            work.result()


def _is_odd(name: bytes, value: bytes) -> bool:
    if not name.isascii() or _normalized(name) in _SERVES_OWN:
        return True
    return name.lower() == b"x-request-id" and not _REQUEST_ID.fullmatch(value)


def _normalized(name: bytes) -> bytes:
    return name.lower().replace(b"-", b"_")
