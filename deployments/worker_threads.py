"""Runs a replica's blocking work in threads.

Serve cannot stop a thread, and it frees the slot of a cancelled request at once, while the thread runs on. So a replica
has slots of its own, each held until its thread has really ended, and long work checks its Cancellation at every step.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deployments.cancellation import Cancellation
from deployments.malloc import trim_freed_memory

T = TypeVar("T")

MAX_CONCURRENT_CALLS = 2
"""Calls that a replica works on at once: a third would only wait for cores, and hold its memory meanwhile."""

_NOTICED_OVERDUE_S = 5.0
"""Work normally ends within one step of a model or decoder after its deadline."""
MAX_OVERDUE_S = 30.0
"""Work that runs so long after its deadline hangs, and holds one of the replica's slots."""

LOWEST_PRIORITY = 19
"""The niceness of background work, which then only gets what is left of the CPU."""

_TRIM_AFTER_S = 10.0
"""Threads that had no work for so long give the memory that their work has freed back to the system."""


class WorkerThreads:
    """Runs blocking work in at most `max_workers` threads at once."""

    def __init__(self, name: str, max_workers: int = MAX_CONCURRENT_CALLS, *, niceness: int = 0) -> None:
        """`niceness` is the threads' own, and that of the threads that they start: LOWEST_PRIORITY for background."""
        self._pool = ThreadPoolExecutor(
            max_workers, thread_name_prefix=name, initializer=set_niceness, initargs=(niceness,)
        )
        self._slots = asyncio.Semaphore(max_workers)
        self._running: set[Cancellation] = set()
        self._trimming: asyncio.TimerHandle | None = None

    async def run(self, work: Callable[[Cancellation], T], deadline: float) -> T:
        """Return `work(cancellation)`; raises what the work raises.

        When the caller is cancelled, so is the work, and its slot stays taken until the work has ended.
        """
        cancellation = Cancellation(deadline)
        async with self._slots:
            cancellation.check("it was still waiting for its turn")
            future = asyncio.get_running_loop().run_in_executor(self._pool, work, cancellation)
            self._running.add(cancellation)
            future.add_done_callback(lambda _: self._end(cancellation))
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                cancellation.cancel()
                await _wait_until_done(future)
                raise
            finally:
                # A failed future refers to this frame through its exception, and this frame to the future: that cycle
                # would keep everything in memory that the work used.
                del future

    async def stream(
        self, work: Callable[[Cancellation, Callable[[T], None]], None], deadline: float
    ) -> AsyncGenerator[T, None]:
        """Yield each part as soon as `work(cancellation, send)` calls `send(part)`; raises what the work raises.

        Closing the generator cancels the work.
        """
        loop = asyncio.get_running_loop()
        parts: asyncio.Queue[tuple[T] | None] = asyncio.Queue()

        def send(part: T) -> None:
            loop.call_soon_threadsafe(parts.put_nowait, (part,))

        task = asyncio.create_task(self.run(lambda cancellation: work(cancellation, send), deadline))
        task.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            while (part := await parts.get()) is not None:
                yield part[0]
            await task
        finally:
            if task.cancel():
                await asyncio.wait({task})

    def _end(self, cancellation: Cancellation) -> None:
        self._running.discard(cancellation)
        if self._trimming is not None:
            self._trimming.cancel()
        loop = asyncio.get_running_loop()
        self._trimming = loop.call_later(_TRIM_AFTER_S, loop.run_in_executor, None, self._trim_if_idle)

    def _trim_if_idle(self) -> None:
        if not self._running:
            trim_freed_memory()

    def overdue_s(self) -> float:
        """Return for how many seconds the longest overdue work has run since its deadline; 0 if none is overdue."""
        now = time.time()
        return max(0.0, *(now - cancellation.deadline for cancellation in list(self._running)), 0.0)

    def overdue_detail(self) -> str:
        """Return a sentence about work that cannot be stopped, for the health endpoint; empty if there is none."""
        overdue_s = self.overdue_s()
        if overdue_s < _NOTICED_OVERDUE_S:
            return ""
        return (
            f"A call has run for {overdue_s:.0f} s after its deadline and cannot be stopped; after {MAX_OVERDUE_S:.0f} "
            "s its process is replaced."
        )

    def check_health(self) -> None:
        """Raise RuntimeError if work hangs."""
        if self.overdue_s() > MAX_OVERDUE_S:
            raise RuntimeError(self.overdue_detail())


def set_niceness(niceness: int) -> None:
    """Set the niceness of this thread alone: on Linux each thread has its own."""
    if niceness:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


class ThreadedDeployment:
    """Base of the deployments that do blocking work in threads: they say when it hangs, and are replaced then."""

    _threads: WorkerThreads
    """A deployment with several overrides `_all_threads` instead."""

    async def overdue_detail(self) -> str:
        """Return a sentence about work that cannot be stopped, for the health endpoint; empty if there is none."""
        return next(filter(None, (threads.overdue_detail() for threads in self._all_threads())), "")

    def check_health(self) -> None:
        """Have Serve replace this replica when its work cannot be stopped."""
        for threads in self._all_threads():
            threads.check_health()

    def _all_threads(self) -> Sequence[WorkerThreads]:
        return (self._threads,)


async def _wait_until_done(future: "asyncio.Future[T]") -> None:
    """Return when `future` is done, whatever its outcome and however often the waiting is cancelled."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    future.exception()  # else asyncio logs that it was never retrieved
