"""Logs one line for each HTTP request: what was asked for, how it ended, and how long it took.

It names the route, not the path, and no query, header or body: nothing that is in the library or was searched for.
Serve adds the request's id, which the client has as `X-Request-ID`.
"""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.log import logger

NO_ROUTE = "(no route)"


class LogRequests:
    """The outermost middleware. With `LOG_FORMAT=json` its line has the fields `http_method`, `http_route`,
    `http_status` and `duration_ms`; the status is 0 if no response was begun, such as when the client left."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            duration_ms = round((time.monotonic() - start) * 1000, 1)
            logger.info(
                "%s %s %d %.1f ms",
                scope["method"],
                route,
                status,
                duration_ms,
                extra={
                    "http_method": scope["method"],
                    "http_route": route,
                    "http_status": status,
                    "duration_ms": duration_ms,
                },
            )
