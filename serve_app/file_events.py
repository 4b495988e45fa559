"""Passes the library's events about files on to all clients that follow them.

One task reads the events from the library, however many clients there are, and keeps the latest of them.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextvars import Context

from deployments.errors import ServiceError
from deployments.library.protocol import LibraryService
from deployments.library.types import FileEvent
from deployments.log import logger
from serve_app.metrics import PROCESSING_SECONDS

MAX_KEPT_EVENTS = 1000
WAIT_S = 20.0
"""How long one call to the library waits for an event."""
CALL_TIMEOUT_S = 30.0
RETRY_S = 1.0


class FileEvents:
    """The events of the library's files. Use it on one event loop only."""

    def __init__(self, library: Callable[[], LibraryService]) -> None:
        self._library = library
        self._kept: deque[FileEvent] = deque()
        self._kept_after = 0
        """Every event with a higher number is in `_kept`."""
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._processing_since: dict[int, float] = {}

    def start(self) -> None:
        """Start reading, if that has not been done."""
        if self._reader is None:
            # In a context of its own: Serve and Ray cancel calls that were made in the context of a request when its
            # client leaves.
            self._reader = asyncio.create_task(self._read(), context=Context())

    async def follow(self, since: int | None) -> AsyncIterator[FileEvent]:
        """Yield each event after number `since`, or, with None, after now; never ends by itself.

        Of events that are long past, those are yielded that the library still knows. Raises ServiceErrors.
        """
        self.start()
        await self._started.wait()
        last = self._latest if since is None else since
        while True:
            for event in await self._after(last):
                last = max(last, event.seq)
                yield event
            async with self._changed:
                await self._changed.wait_for(lambda: self._latest > last)  # noqa: B023

    @property
    def _latest(self) -> int:
        return self._kept[-1].seq if self._kept else self._kept_after

    async def _after(self, last: int) -> list[FileEvent]:
        if last < self._kept_after:
            return await self._library().events(last, 0, deadline=time.time() + CALL_TIMEOUT_S)
        return [event for event in self._kept if event.seq > last]

    async def _read(self) -> None:
        is_reading = True
        while True:
            try:
                if not self._started.is_set():
                    latest = await self._library().events(None, 0, deadline=time.time() + CALL_TIMEOUT_S)
                    self._kept_after = latest[-1].seq if latest else 0
                    self._started.set()
                events = await self._library().events(self._latest, WAIT_S, deadline=time.time() + CALL_TIMEOUT_S)
                is_reading = True
                await self._keep(events)
            except ServiceError as error:
                # While the library's process restarts, for example. Logged once, not every second.
                if is_reading:
                    logger.warning("Events of the library cannot be read: %s", error)
                is_reading = False
                await asyncio.sleep(RETRY_S)

    async def _keep(self, events: list[FileEvent]) -> None:
        for event in events:
            self._measure(event)
        async with self._changed:
            self._kept.extend(events)
            while len(self._kept) > MAX_KEPT_EVENTS:
                self._kept_after = self._kept.popleft().seq
            self._changed.notify_all()

    def _measure(self, event: FileEvent) -> None:
        if event.status == "processing":
            self._processing_since.setdefault(event.file_id, time.monotonic())
            return
        start = self._processing_since.pop(event.file_id, None)
        if start is not None and event.status in ("completed", "failed"):
            PROCESSING_SECONDS.observe(time.monotonic() - start)
