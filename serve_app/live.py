"""Responses that a client follows event by event."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployments.errors import ServerBusy
from serve_app.error_handlers import as_service_error, error_body
from serve_app.progress import Emit
from serve_app.server_sent_events import event_stream, format_event
from serve_app.stopping import STOPPED

Event = tuple[str, dict[str, Any]]
"""Name and data."""
Work = Callable[[Emit], Awaitable[dict[str, Any]]]
"""Emits events, and returns the body that the response without events has."""


async def live_events(work: Work) -> AsyncGenerator[Event, None]:
    """Yield the events that `work` emits, as it does, and at last "result" with what it returns; raises what it raises.

    The work does not wait for whoever reads the events, so a slow reader does not hold it up. Closing the generator
    cancels it.
    """
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    task = asyncio.ensure_future(work(lambda name, data: events.put_nowait((name, data))))
    task.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        yield "result", await task
    finally:
        if task.cancel():
            await asyncio.wait({task})


def wants_events(request: Request) -> bool:
    """Return whether the client asks for server-sent events, with `Accept: text/event-stream`."""
    return "text/event-stream" in request.headers.get("accept", "").lower()


async def event_response(work: Work, request: Request) -> Response:
    """Return the response that sends the events of `work`.

    Raises what the work raises before its first event: until then, a status can be sent.
    """
    events = live_events(work)
    first = await anext(events)

    async def all_events() -> AsyncGenerator[Event, None]:
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    return event_stream(formatted_events(all_events(), request), if_cancelled=stopped_event())


def stopped_event() -> str:
    """Return the last event of a stream that the server ends because it stops."""
    return format_event(error_body(ServerBusy(STOPPED)).model_dump(mode="json"), name="error")


async def formatted_events(events: AsyncGenerator[Event, None], request: Request) -> AsyncGenerator[str, None]:
    """Yield events as they are sent. An error becomes the event `error`: status 200 has been sent."""
    try:
        async with aclosing(events):
            async for name, data in events:
                yield format_event(data, name=name)
    except Exception as error:
        yield format_event(error_body(as_service_error(error, request)).model_dump(mode="json"), name="error")
