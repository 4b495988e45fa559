"""Ends the requests in progress when the server stops."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import ServerBusy

STOPPED = "The server was stopped before this request was done."
GRACE_S = 5.0
"""How long requests in progress may take to finish by themselves when the server stops."""
ANSWER_S = 2.0
"""How long the others get after that to be answered SERVER_BUSY."""
_DELIVERY_S = 0.3
"""How long the last answers take from here through Serve's proxy to the clients."""
_POLL_S = 0.02
_ALWAYS_ANSWERED = ("/api/health", "/livez")


class Stopping:
    """Knows the requests in progress, and ends them."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._requests: set[asyncio.Timeout] = set()

    async def stop(self) -> None:
        """Refuse new requests, wait for those in progress, and answer SERVER_BUSY to those that take too long."""
        self.is_stopping = True
        await self._wait(GRACE_S)
        for request in self._requests:
            if not request.expired():
                request.reschedule(asyncio.get_running_loop().time())
        await self._wait(ANSWER_S - 2 * _DELIVERY_S)
        await asyncio.sleep(_DELIVERY_S)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run `app`; raises ServerBusy if `stop` ends it before its response has begun."""
        has_started = False

        async def send_and_note_start(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            async with asyncio.timeout(None) as request:
                self._requests.add(request)
                try:
                    await app(scope, receive, send_and_note_start)
                finally:
                    self._requests.discard(request)
        except TimeoutError:
            if not request.expired() or has_started:
                raise
            raise ServerBusy(STOPPED) from None

    async def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._requests and time.monotonic() < end:
            await asyncio.sleep(_POLL_S)


class RefuseWhileStopping:
    """The middleware that tells `stopping` about each request. It must be inside those that turn errors into JSON."""

    def __init__(self, app: ASGIApp, stopping: Stopping) -> None:
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in _ALWAYS_ANSWERED:
            await self._app(scope, receive, send)
        elif self._stopping.is_stopping:
            raise ServerBusy("The server is stopping.")
        else:
            await self._stopping.run(self._app, scope, receive, send)
