import asyncio
from contextvars import ContextVar
from typing import cast

from deployments.library.protocol import LibraryService
from deployments.library.types import FileEvent, FileProgress
from serve_app.file_events import FileEvents

REQUEST: ContextVar[str | None] = ContextVar("request", default=None)


class Library:
    """Notes in which request's context its events are asked for."""

    def __init__(self) -> None:
        self.requests: list[str | None] = []

    async def events(self, since: int | None, wait_s: float, *, deadline: float) -> list[FileEvent]:
        self.requests.append(REQUEST.get())
        if since is None:
            return []
        await asyncio.sleep(0)
        return [FileEvent(since + 1, 7, "pending", FileProgress("waiting", 0.0, None, ""))]


def test_events_are_read_in_the_context_of_no_request() -> None:
    # Serve cancels what was called in the context of a request when its client leaves: the first follower's, here.
    library = Library()

    async def follow() -> FileEvent:
        REQUEST.set("of the first follower")
        return await anext(FileEvents(lambda: cast(LibraryService, library)).follow(None))

    assert asyncio.run(follow()).file_id == 7
    assert set(library.requests) == {None}
