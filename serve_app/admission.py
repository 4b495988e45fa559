"""Admission control: decides which requests are worked on, which wait and which are refused."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from deployments.errors import DeadlineExceeded, RateLimited, ServerBusy
from serve_app.settings import ServingConfig

HOUR_S = 3600
MAX_ADDRESSES = 1000
"""The rate limit remembers this many client addresses, the most recent ones."""


class Admission:
    """Counts requests from before their body is read until they are answered.

    `max_concurrent_requests` are worked on, and `max_queued_requests` more may upload or wait. At most
    `max_large_uploads` of all these have a body of more than `large_body_bytes`. Use it on one event loop only.
    """

    def __init__(
        self, config: ServingConfig, *, large_body_bytes: int, available_memory_mb: Callable[[], float]
    ) -> None:
        self._config = config
        self._large_body_bytes = large_body_bytes
        self._available_memory_mb = available_memory_mb
        self._rate_limit = RateLimit(config.requests_per_hour) if config.requests_per_hour else None
        self._work_slots = asyncio.Semaphore(config.max_concurrent_requests)
        self._num_admitted = 0
        self._num_large = 0

    @contextmanager
    def admit(self, address: str) -> Iterator["AdmittedRequest"]:
        """Admit one request for as long as the block lasts; raises RateLimited or ServerBusy."""
        if self._num_admitted >= self._config.max_concurrent_requests + self._config.max_queued_requests:
            raise ServerBusy("The server's queue is full; try again in a moment.")
        available_mb = self._available_memory_mb()
        if available_mb < self._config.min_free_memory_mb:
            raise ServerBusy(
                f"Only {available_mb:.0f} MB of memory are free, and {self._config.min_free_memory_mb:.0f} MB are kept "
                "free; close other programs or try again later."
            )
        if self._rate_limit:
            self._rate_limit.count(address)
        admitted = AdmittedRequest(self)
        self._num_admitted += 1
        try:
            yield admitted
        finally:
            self._num_admitted -= 1
            self._num_large -= admitted.is_large

    @asynccontextmanager
    async def work_slot(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a work slot, first come first served, and hold it in the block; raises DeadlineExceeded."""
        waiting = "it was still waiting for its turn"
        if time.time() >= deadline:
            raise DeadlineExceeded(waiting)
        try:
            async with asyncio.timeout(deadline - time.time()):
                await self._work_slots.acquire()
        except TimeoutError:
            raise DeadlineExceeded(waiting) from None
        try:
            yield
        finally:
            self._work_slots.release()

    def _count_large(self) -> None:
        if self._num_large >= self._config.max_large_uploads:
            raise ServerBusy(
                f"The server has {self._num_large} large uploads in memory, the most that it takes at once; try again "
                "in a moment."
            )
        self._num_large += 1


class AdmittedRequest:
    """A request that was admitted and is not answered yet."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.is_large = False

    def will_hold(self, num_bytes: int) -> None:
        """Declare that the request will hold this much of its body in memory.

        Raises ServerBusy if that makes it a large one and there are `max_large_uploads` of those already.
        """
        if not self.is_large and num_bytes > self._admission._large_body_bytes:
            self._admission._count_large()
            self.is_large = True


class RateLimit:
    """Allows each address at most `per_hour` requests in any period of an hour. `clock` returns seconds."""

    def __init__(self, per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_hour = per_hour
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, address: str) -> None:
        """Count a request, or raise RateLimited with the seconds to wait. Refused requests are not counted."""
        now = self._clock()
        times = self._times.setdefault(address, deque())
        self._times.move_to_end(address)
        if len(self._times) > MAX_ADDRESSES:
            self._times.popitem(last=False)
        while times and times[0] <= now - HOUR_S:
            times.popleft()
        if len(times) >= self._per_hour:
            wait_s = max(1, math.ceil(times[0] + HOUR_S - now))
            error = RateLimited(f"More than {self._per_hour} requests in an hour; try again in {wait_s} s.")
            error.retry_after_s = wait_s
            raise error
        times.append(now)
