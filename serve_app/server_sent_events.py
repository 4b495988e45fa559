"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

KEEP_ALIVE_S = 10.0
"""A stream without events sends a comment this often, so that a client that has left is noticed."""
_COMMENT = ": still here\n\n"


def format_event(data: Any, *, name: str | None = None, number: int | None = None) -> str:
    """Return one event; `data` is written as JSON. A client that connects again sends back the last `number`."""
    fields = {"id": number, "event": name, "data": json.dumps(data, ensure_ascii=False)}
    return "".join(f"{field}: {value}\n" for field, value in fields.items() if value is not None) + "\n"


def event_stream(events: AsyncGenerator[str, None], *, if_cancelled: str = "") -> StreamingResponse:
    """Return the response that sends formatted events, and comments while there are none.

    `if_cancelled` is sent last if the response is cancelled, as all are when the server stops.
    """
    return StreamingResponse(
        _with_comments(events, if_cancelled), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _with_comments(events: AsyncGenerator[str, None], if_cancelled: str) -> AsyncIterator[str]:
    waiting: asyncio.Task[str] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=KEEP_ALIVE_S)
            if not done:
                yield _COMMENT
                continue
            try:
                event = waiting.result()
            except StopAsyncIteration:
                return
            finally:
                waiting = None
            yield event
    except asyncio.CancelledError:
        if if_cancelled:
            yield if_cancelled
        raise
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait({waiting})
        await events.aclose()
