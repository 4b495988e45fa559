"""Middlewares that keep the memory of large uploads small, in Serve's proxy and in the ingress."""

import asyncio
import weakref
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.malloc import trim_freed_memory

LARGE_BYTES = 1024 * 1024
"""Smaller uploads leave their memory to the next ones."""
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""How much of a body may wait in the proxy for the ingress."""


class PaceUploads:
    """A middleware for Serve's proxy: reads a body no faster than the ingress takes it.

    Serve puts the messages of a request into a queue without a bound, from which the ingress fetches them. It does not
    tell when, but then it drops the message, and that can be noticed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        waiting_bytes = 0
        was_taken = asyncio.Event()

        def take(num_bytes: int) -> None:
            nonlocal waiting_bytes
            waiting_bytes -= num_bytes
            was_taken.set()

        async def receive_in_pace() -> Message:
            nonlocal waiting_bytes
            while waiting_bytes > MAX_WAITING_BYTES:
                was_taken.clear()
                await was_taken.wait()
            message = _QueuedMessage(await receive())
            num_bytes = len(message.get("body", b""))
            waiting_bytes += num_bytes
            weakref.finalize(message, take, num_bytes)
            return message

        await self._app(scope, receive_in_pace, send)


class _QueuedMessage(dict[str, Any]):
    """A message of the ASGI protocol whose end can be noticed. In another process, it is an ordinary dict."""

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class GiveBackMemory:
    """A middleware for Serve's proxy and the ingress: trims the heap after each large upload, when its body is gone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        num_bytes = 0

        async def receive_and_count() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            return message

        try:
            await self._app(scope, receive_and_count, send)
        finally:
            if num_bytes >= LARGE_BYTES:
                await asyncio.to_thread(trim_freed_memory)
