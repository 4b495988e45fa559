"""`WS /api/analyze/ws`: analyses of several files over one connection, with their events."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.websockets import WebSocket, WebSocketDisconnect

from deployments.errors import InvalidRequest, ServiceError
from deployments.units import MEGABYTE
from serve_app.analysis import analyze_upload
from serve_app.context import AppContext
from serve_app.error_handlers import as_service_error, error_body
from serve_app.json_body import parse_json
from serve_app.live import live_events
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import Modality
from serve_app.options import Options, parse_json_options
from serve_app.progress import Emit
from serve_app.request_info import client_address, context_of
from serve_app.schemas import body_of
from serve_app.uploads import Upload, read_media

router = APIRouter()

PATH = "/api/analyze/ws"
MAX_PART_BYTES = MEGABYTE
"""A file comes in binary messages of at most this size."""
CREDIT_BYTES = 2 * MEGABYTE
"""What a client may send of a file before the server has taken it in. More would pile up in the proxy."""
MAX_TEXT_CHARS = 64 * 1024
MAX_FILES = 16
"""Files of one connection that may be unfinished at once."""
MAX_CONNECTIONS = 32
IDLE_S = 300.0
"""A connection on which nothing happens for so long is closed."""
MAX_REFUSED = 100
"""Messages in a row that cannot be used; after one more the connection is closed."""

_NORMAL, _POLICY_VIOLATION, _TOO_BIG, _TRY_AGAIN_LATER = 1000, 1008, 1009, 1013
_MODALITIES = {modality.kind: modality for modality in MODALITIES}


class _Announcement(Options):
    """The message that precedes a file."""

    id: str = Field(min_length=1, max_length=64)
    type: str
    size: int = Field(ge=1)
    options: dict[str, Any] = Field(default_factory=dict)


class _Cancel(Options):
    id: str
    cancel: Literal[True]


class _Close(Exception):
    """The connection is to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@router.websocket(PATH)
async def analyze_ws(websocket: WebSocket) -> None:
    """For each file, the client sends `{"id", "type", "size", "options"}`, then its bytes in binary messages.

    Every message of the server is `{"id", "event", "data"}`: the events of the route for that type of file, and before
    them `credit` (`{"bytes"}`: what may be sent in addition). `{"id", "cancel": true}` ends an analysis, with the event
    `cancelled`. Files are sent one after another, and analysed side by side.
    """
    context = context_of(websocket)
    await websocket.accept()
    if context.num_connections >= MAX_CONNECTIONS:
        await websocket.close(_TRY_AGAIN_LATER, f"There are {MAX_CONNECTIONS} connections already; try again later.")
        return
    context.num_connections += 1
    try:
        await _Connection(websocket, context).run()
    except _Close as close:
        await websocket.close(close.code, str(close))
    except WebSocketDisconnect:
        pass
    finally:
        context.num_connections -= 1


class _IncomingFile:
    """A file whose parts are arriving."""

    def __init__(self, file_id: str, size: int) -> None:
        self.id = file_id
        self.size = size
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()
        self.credit = 0
        """Bytes that the client may still send."""
        self.num_bytes = 0


class _Connection:
    def __init__(self, websocket: WebSocket, context: AppContext) -> None:
        self._websocket = websocket
        self._context = context
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._analyses: dict[str, asyncio.Task[None]] = {}
        self._incoming: _IncomingFile | None = None
        self._num_refused = 0
        """Messages that could not be used since the last one that could."""
        self._dropped_bytes = 0
        """Of files that had failed, since the last announcement."""
        self._active_at = time.monotonic()
        """When a file was last announced, or got an event."""

    async def run(self) -> None:
        """Serve the client until it leaves; raises _Close or WebSocketDisconnect."""
        loops = {asyncio.create_task(self._receive_all()), asyncio.create_task(self._send_all())}
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            tasks = loops | set(self._analyses.values())
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _send_all(self) -> None:
        while True:
            message = await self._messages.get()
            await self._websocket.send_text(json.dumps(message, ensure_ascii=False))

    async def _receive_all(self) -> None:
        receiving: asyncio.Task[Any] | None = None
        try:
            while True:
                receiving = receiving or asyncio.ensure_future(self._websocket.receive())
                idle_s = time.monotonic() - self._active_at
                if not self._analyses and idle_s >= IDLE_S:
                    raise _Close(_NORMAL, f"Nothing happened for {IDLE_S:g} s.")
                left_s = IDLE_S if self._analyses else IDLE_S - idle_s
                done, _ = await asyncio.wait({receiving}, timeout=left_s)
                if done:
                    message, receiving = receiving.result(), None
                    self._handle(message)
        finally:
            if receiving is not None:
                receiving.cancel()

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", _NORMAL))
        if message.get("bytes") is not None:
            self._take_part(message["bytes"])
            return
        file_id = None
        try:
            document = _parse(message.get("text") or "")
            file_id = document.get("id") if isinstance(document.get("id"), str) else None
            if "cancel" in document:
                self._cancel(parse_json_options(_Cancel, document).id)
            else:
                self._announce(document)
            self._num_refused = 0
        except ServiceError as error:
            self._num_refused += 1
            if self._num_refused > MAX_REFUSED:
                raise _Close(_POLICY_VIOLATION, "Too many messages could not be used.") from None
            # The events of a file that is being analysed already must not end with this error.
            self._send(None if file_id in self._analyses else file_id, "error", self._error(error))

    def _take_part(self, part: bytes) -> None:
        if len(part) > MAX_PART_BYTES:
            raise _Close(_TOO_BIG, f"A binary message may have {MAX_PART_BYTES} bytes.")
        incoming = self._incoming
        if incoming is None:
            # Of a file whose analysis has failed or was cancelled meanwhile, and which had this credit.
            self._dropped_bytes += len(part)
            if self._dropped_bytes > CREDIT_BYTES:
                raise _Close(_POLICY_VIOLATION, "Announce a file before you send it.")
            return
        incoming.num_bytes += len(part)
        incoming.credit -= len(part)
        if incoming.credit < 0:
            raise _Close(_POLICY_VIOLATION, "More bytes were sent than the server has given credit for.")
        incoming.parts.put_nowait(part)
        if incoming.num_bytes >= incoming.size:
            self._incoming = None

    def _cancel(self, file_id: str) -> None:
        if file_id in self._analyses:  # else it has just ended
            self._analyses[file_id].cancel()
        if self._incoming is not None and self._incoming.id == file_id:
            self._incoming = None  # at once, as the next file may be announced already

    def _announce(self, document: dict[str, Any]) -> None:
        announced = parse_json_options(_Announcement, document)
        if announced.type not in _MODALITIES:
            raise InvalidRequest(f"'type' must be one of {', '.join(_MODALITIES)}, not {announced.type!r:.40}.")
        if announced.id in self._analyses:
            raise InvalidRequest(f"The file {announced.id!r} is not finished yet; give each file an id of its own.")
        if self._incoming is not None:
            raise InvalidRequest(
                f"The file {self._incoming.id!r} is not complete yet; send the rest of it, or cancel it."
            )
        if len(self._analyses) >= MAX_FILES:
            raise InvalidRequest(f"{MAX_FILES} files are unfinished; wait until one of them is done.")
        self._active_at = time.monotonic()
        self._dropped_bytes = 0
        self._incoming = _IncomingFile(announced.id, announced.size)
        analysis = asyncio.create_task(self._analyze(announced, self._incoming))
        self._analyses[announced.id] = analysis

    async def _analyze(self, announced: _Announcement, incoming: _IncomingFile) -> None:
        """Analyse a file and send its events."""
        modality = _MODALITIES[announced.type]  # type: ignore[index]
        last: tuple[str, dict[str, Any]]
        try:
            async with aclosing(
                live_events(lambda emit: self._analysis(modality, incoming, announced.options, emit))
            ) as events:
                async for last in events:
                    if last[0] != "result":
                        self._send(announced.id, *last)
        except asyncio.CancelledError:
            last = "cancelled", {}
        except Exception as error:
            last = "error", self._error(error)
        # Before the last event, so that the client may use the id again.
        del self._analyses[announced.id]
        self._active_at = time.monotonic()
        if self._incoming is incoming:
            self._incoming = None
        self._send(announced.id, *last)

    async def _analysis(
        self, modality: Modality[Any], incoming: _IncomingFile, options: dict[str, Any], emit: Emit
    ) -> dict[str, Any]:
        """Return the body that the route for this type of file returns; raises ServiceErrors."""
        context = self._context
        deadline = context.deadline()
        with (
            context.explain_timeouts(modality.timeout_advice),
            context.admission.admit(client_address(self._websocket), modality.kind, deadline) as admitted,
        ):
            admitted.follow(emit)
            async with aclosing(self._parts(incoming)) as parts:
                media = await read_media(
                    parts, incoming.size, modality.max_file_bytes(context.settings.limits), admitted, deadline
                )
            upload = Upload(media, {}, options, is_form=False)
            del media
            return body_of(await analyze_upload(upload, modality, context, admitted, deadline, emit))

    async def _parts(self, incoming: _IncomingFile) -> AsyncGenerator[bytes, None]:
        """Yield the parts of a file, and give credit as they are taken."""
        num_granted = num_taken = 0
        while num_taken < incoming.size:
            if credit := min(num_taken + CREDIT_BYTES, incoming.size) - num_granted:
                num_granted += credit
                incoming.credit += credit
                self._send(incoming.id, "credit", {"bytes": credit})
            part = await incoming.parts.get()
            num_taken += len(part)
            yield part

    def _send(self, file_id: str | None, event: str, data: dict[str, Any]) -> None:
        self._messages.put_nowait({"id": file_id, "event": event, "data": data})

    def _error(self, error: Exception) -> dict[str, Any]:
        return error_body(as_service_error(error, self._websocket)).model_dump(mode="json")


def _parse(text: str) -> dict[str, Any]:
    if len(text) > MAX_TEXT_CHARS:
        raise _Close(_TOO_BIG, f"A text message may have {MAX_TEXT_CHARS} characters.")
    return parse_json(bytearray(text.encode()))
