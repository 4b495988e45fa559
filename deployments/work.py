"""Blocking work of a replica: run in a thread, ended when its deadline passes or nobody waits for it any more.

Serve cannot stop a thread, and it frees a cancelled request's slot at once while the thread runs on. So a replica keeps
its own slots, held until the thread has really ended, and work that may last checks its `Stop` at every step.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deployments.errors import DeadlineExceeded

T = TypeVar("T")


class WorkCancelled(Exception):
    """The caller left; there is nobody to tell."""


class Stop:
    """Tells work in a thread when to end.

    `deadline` is a point on the epoch clock (`time.time()`, seconds), which every process of the graph shares.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self, progress: str = "") -> None:
        """Return if the work may go on.

        Raises WorkCancelled when the caller has left, DeadlineExceeded(progress) when the deadline has passed.
        """
        if self._cancelled.is_set():
            raise WorkCancelled
        if time.time() >= self.deadline:
            raise DeadlineExceeded(progress)


class WorkerThreads:
    """Runs blocking work in at most `max_workers` threads at once."""

    def __init__(self, max_workers: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers, thread_name_prefix=name)
        self._slots = asyncio.Semaphore(max_workers)

    async def run(self, work: Callable[[Stop], T], deadline: float) -> T:
        """Return `work(stop)`; when the caller is cancelled, stop the work and keep its slot until it has ended."""
        stop = Stop(deadline)
        async with self._slots:
            stop.check("it was still waiting for its turn")
            future = asyncio.get_running_loop().run_in_executor(self._pool, work, stop)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                stop.cancel()
                await _ended(future)
                raise
            finally:
                # Its exception has this frame in its traceback: a cycle, in which all that the work held would stay.
                del future


async def _ended(future: "asyncio.Future[T]") -> None:
    """Return when `future` is done, whatever its outcome and however often the waiting is cancelled."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    future.exception()
