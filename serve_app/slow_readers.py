"""Ends responses that nobody reads."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

READER_S = 30.0
"""A client that takes nothing of its response for so long is dropped."""


class DropSlowReaders:
    """A middleware for Serve's proxy, where `send` waits until the client takes what was sent before.

    What the ingress sends piles up there meanwhile; it does not wait.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(READER_S):
                await send(message)

        await self._app(scope, receive, send_in_time)
