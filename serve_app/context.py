"""What routes and analyses work with; nothing here knows HTTP."""

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from deployments.errors import DeadlineExceeded
from deployments.media import Media
from serve_app.admission import Admission, AdmittedRequest
from serve_app.file_events import FileEvents
from serve_app.graph import LIBRARY, Node
from serve_app.json_body import max_json_body_bytes
from serve_app.progress import Emit, Progress
from serve_app.scheduling import Length, Steps
from serve_app.settings import AppConfig
from serve_app.speeds import Speeds
from serve_app.system import System

S = TypeVar("S")

TYPICAL_S = 2.0
TYPICAL_MINIATURE_S = 0.1
"""Machine time of a request, for the first `Retry-After`: until there are measured ones."""


class Share(Protocol):
    """Copies media into memory that all processes of the graph share, for a block."""

    def __call__(self, media: Media, *, free_after_failure: bool = True) -> AbstractAsyncContextManager[Media]: ...


class AppContext:
    """The graph's services, the settings, admission control and the machine's state. There is one for the whole app."""

    def __init__(
        self,
        services: Mapping[str, Any],
        settings: AppConfig,
        system: System,
        share: Share,
        speeds: Speeds,
    ) -> None:
        """`services` are keyed by the names of their nodes. `share` does the work of the method of that name."""
        self.settings = settings
        self.system = system
        max_image_bytes = settings.limits.max_file_bytes(settings.limits.image_mb)
        self.admission = Admission(
            settings.serving,
            large_body_bytes=max_json_body_bytes(max_image_bytes),
            available_memory_mb=system.available_memory_mb,
            typical_s=TYPICAL_MINIATURE_S if settings.captioner.is_miniature else TYPICAL_S,
        )
        self._services = services
        self._share = share
        self._share_lock = asyncio.Lock()
        self._steps: Steps | None = None
        self._speeds = speeds
        self._progress: Progress | None = None
        self.file_events = FileEvents(lambda: self.service(LIBRARY))
        self.started_at = int(time.time())
        """In epoch seconds."""
        self.num_followers = 0
        """Clients that follow the library's events."""
        self.num_connections = 0
        """WebSockets over which files are analysed."""

    @contextmanager
    def follower(self) -> Iterator[None]:
        """Count a client that follows the library's events, for the block."""
        self.num_followers += 1
        try:
            yield
        finally:
            self.num_followers -= 1

    def service(self, node: Node[S]) -> S:
        """Return the service of a node: an object with the methods of `node.protocol`.

        Within an analysis, each call waits for its turn.
        """
        service = self._services[node.name]
        return cast(S, service if self._steps is None else _SteppedService(service, node, self._steps))

    @property
    def progress(self) -> Progress:
        """How far the analysis is that this context is for."""
        assert self._progress is not None
        return self._progress

    @asynccontextmanager
    async def analysis(
        self, admitted: AdmittedRequest, length: Length, num_bytes: int, deadline: float, emit: Emit | None
    ) -> "AsyncIterator[AppContext]":
        """Wait until an analysis may begin; yields the context for it, whose services' calls are the steps.

        `num_bytes` is the size of its file; `emit` gets the events of its progress, if a client follows it.
        """
        async with self.admission.scheduler.analysis(admitted.client, length, deadline) as steps:
            context = copy.copy(self)
            context._steps = steps
            context._progress = Progress(emit, self._speeds, admitted.client, num_bytes)
            yield context

    @asynccontextmanager
    async def share(self, media: Media, *, free_after_failure: bool = True) -> AsyncIterator[Media]:
        """Yield `media` for calls to services, copied once into memory that all processes of the graph share.

        In the running graph it is a reference, which Ray replaces by the array when it is the argument of a call. So
        it can only be used as an argument, and only within the block: then the memory is freed, with
        `free_after_failure=False` only if the block succeeds (see object_store.py). One file at a time is copied, as
        there are two copies meanwhile.
        """
        async with AsyncExitStack() as stack:
            async with self._share_lock:
                shared = await stack.enter_async_context(self._share(media, free_after_failure=free_after_failure))
            del media
            yield shared

    def deadline(self) -> float:
        """Return the deadline of a request that arrives now, in epoch seconds."""
        return time.time() + self.settings.serving.request_timeout_s

    def seconds_from_now(self, seconds: float) -> float:
        """Return that point of time, as a deadline."""
        return time.time() + seconds

    @contextmanager
    def explain_timeouts(self, advice: str) -> Iterator[None]:
        """Turn a DeadlineExceeded, which says how far the work got, into a message that also says what to change."""
        try:
            yield
        except DeadlineExceeded as error:
            progress = f": {error}" if str(error) else ""
            timeout_s = self.settings.serving.request_timeout_s
            raise DeadlineExceeded(
                f"The request ran out of its {timeout_s:g} s{progress}. {advice}, or raise REQUEST_TIMEOUT_SECONDS."
            ) from error


class _SteppedService:
    """A service of an analysis: each call is a step, which waits for its turn."""

    def __init__(self, service: Any, node: Node[Any], steps: Steps) -> None:
        self._service = service
        self._node = node
        self._steps = steps

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]] | Callable[..., AsyncGenerator[Any, None]]:
        call = self._stream if method in self._node.streaming_methods else self._call
        return partial(call, getattr(self._service, method))

    async def _call(self, call: Callable[..., Awaitable[Any]], *args: Any, deadline: float) -> Any:
        async with self._steps.step(self._node.name, deadline):
            return await call(*args, deadline=deadline)

    async def _stream(
        self, call: Callable[..., AsyncGenerator[Any, None]], *args: Any, deadline: float
    ) -> AsyncGenerator[Any, None]:
        async with self._steps.step(self._node.name, deadline), aclosing(call(*args, deadline=deadline)) as items:
            async for item in items:
                yield item
