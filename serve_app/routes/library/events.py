"""`WS /ws` and `GET /events`: the progress of files, as it happens."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from deployments.errors import InvalidRequest, ServerBusy
from serve_app.context import AppContext
from serve_app.library_schemas import event_body
from serve_app.openapi import error_responses
from serve_app.request_info import context_of
from serve_app.server_sent_events import event_stream, format_event

router = APIRouter()

MAX_FOLLOWERS = 64
"""Clients that may follow at once."""
_TRY_AGAIN_LATER = 1013
_POLICY_VIOLATION = 1008


@router.get(
    "/events",
    summary="Follow the progress of files, as server-sent events",
    response_class=Response,
    responses={
        200: {
            "description": "A stream; each event's `id` is its number, its `data` what `/ws` sends.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **error_responses(400, 403, 500, 503),
    },
)
async def events(
    request: Request, since: Annotated[int | None, Query(ge=0, description="Replay what came after it.")] = None
) -> StreamingResponse:
    """A browser's EventSource connects again by itself and goes on after the last event (`Last-Event-ID`)."""
    context = context_of(request)
    last_id = request.headers.get("last-event-id", "")
    if last_id and not last_id.isascii():
        raise InvalidRequest("The header Last-Event-ID must be the number of an event.")
    if last_id:
        since = _number(last_id)
    if context.num_followers >= MAX_FOLLOWERS:
        raise ServerBusy(f"{MAX_FOLLOWERS} clients are following already; try again later.")
    return event_stream(_stream(context, since))


@router.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    """Sends `{seq, file_id, progress}` for each change; `?since=SEQ` replays what came after that one."""
    context = context_of(websocket)
    await websocket.accept()
    try:
        text = websocket.query_params.get("since")
        since = None if text is None else _number(text)
    except InvalidRequest as error:
        await websocket.close(_POLICY_VIOLATION, str(error))
        return
    if context.num_followers >= MAX_FOLLOWERS:
        await websocket.close(_TRY_AGAIN_LATER, f"{MAX_FOLLOWERS} clients are following already; try again later.")
        return
    sending = asyncio.create_task(_send_events(websocket, context, since))
    leaving = asyncio.create_task(_wait_until_gone(websocket))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        leaving.cancel()
        await asyncio.wait({sending, leaving})
    for task in (sending, leaving):
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not isinstance(failure, WebSocketDisconnect):
            raise failure


async def _send_events(websocket: WebSocket, context: AppContext, since: int | None) -> None:
    with context.follower():
        async for event in context.file_events.follow(since):
            await websocket.send_json(event_body(event))


async def _wait_until_gone(websocket: WebSocket) -> None:
    """Read what the client sends, which means nothing here, until it leaves."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _stream(context: AppContext, since: int | None) -> AsyncGenerator[str, None]:
    with context.follower():
        yield ": following\n\n"
        async for event in context.file_events.follow(since):
            yield format_event(event_body(event), number=event.seq)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise InvalidRequest("'since' and Last-Event-ID must be the number of an event.")
    return int(text)
