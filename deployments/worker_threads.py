"""Runs a replica's blocking work in threads.

Serve cannot stop a thread, and it frees the slot of a cancelled request at once, while the thread runs on. So a replica
has slots of its own, each held until its thread has really ended, and long work checks its Cancellation at every step.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deployments.cancellation import Cancellation

T = TypeVar("T")

MAX_CONCURRENT_CALLS = 2
"""Calls that a replica works on at once: a third would only wait for cores, and hold its memory meanwhile."""


class WorkerThreads:
    """Runs blocking work in at most `max_workers` threads at once."""

    def __init__(self, name: str, max_workers: int = MAX_CONCURRENT_CALLS) -> None:
        self._pool = ThreadPoolExecutor(max_workers, thread_name_prefix=name)
        self._slots = asyncio.Semaphore(max_workers)

    async def run(self, work: Callable[[Cancellation], T], deadline: float) -> T:
        """Return `work(cancellation)`; raises what the work raises.

        When the caller is cancelled, so is the work, and its slot stays taken until the work has ended.
        """
        cancellation = Cancellation(deadline)
        async with self._slots:
            cancellation.check("it was still waiting for its turn")
            future = asyncio.get_running_loop().run_in_executor(self._pool, work, cancellation)
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


async def _wait_until_done(future: "asyncio.Future[T]") -> None:
    """Return when `future` is done, whatever its outcome and however often the waiting is cancelled."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    future.exception()  # else asyncio logs that it was never retrieved
