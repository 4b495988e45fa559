"""Admission control: decides which requests may send their body, which wait for work, and which are refused.

    admit ──> upload, `max_uploads` at once ──> queue, `max_concurrent_requests` + `max_queued_requests` ──> steps

A request gets its place in the queue only once its body is there, so that nobody holds one by sending slowly. A slow
sender makes room when there are no more places for uploads, or no more memory. `scheduling.py` hands out the steps.
"""

import asyncio
import bisect
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from deployments.errors import DeadlineExceeded, RateLimited, ServerBusy
from deployments.units import MEGABYTE
from serve_app.progress import Emit
from serve_app.scheduling import Client, Scheduler
from serve_app.settings import ServingConfig

HOUR_S = 3600
MAX_ADDRESSES = 1000
"""The rate limit remembers this many client addresses, the most recent ones."""

SLOW_AFTER_S = 2.0
"""An upload can be called slow only after this time."""
MIN_BYTES_PER_S = 64 * 1024
"""An upload that is slower on average, or too slow to arrive before its deadline, makes room for others."""

MARGIN = 1.1
"""Estimates expect the machine to be slower by this factor than measured, since work varies."""
FREE_PART = 0.2
"""Refused clients are told to come when this part of the places is expected to be free, so that they find one."""
SAME_TIME_S = 0.5
"""Clients that are told to come within this time of each other may come in any order."""
MAX_RETRY_AFTER_S = 600
MAX_BACKGROUND_WAIT_S = 10.0
"""Background work, such as indexing, gets a step at least this often, however busy the server is."""
MAX_EXPECTED_CLIENTS = 200
"""Refused clients whose return is taken into account. One that ignores `Retry-After` counts again each time it comes;
with all of those, each refusal would take longer than the one before."""
SMOOTHING = 0.2
"""Weight of the last measurement in the moving average of a kind's machine time."""

Clock = Callable[[], float]


class Admission:
    """Counts requests from their arrival until they are answered. Use it on one event loop only.

    At most `max_large_uploads` of all requests have a body of more than `large_body_bytes`.
    """

    def __init__(
        self,
        config: ServingConfig,
        *,
        large_body_bytes: int,
        available_memory_mb: Callable[[], float],
        typical_s: float = 1.0,
        clock: Clock = time.monotonic,
    ) -> None:
        """`typical_s` is the machine time of a request of a kind that has not been measured yet."""
        self._config = config
        self._large_body_bytes = large_body_bytes
        self._available_memory_mb = available_memory_mb
        self._rate_limit = RateLimit(config.requests_per_hour) if config.requests_per_hour else None
        self._clock = clock
        self._scheduler = Scheduler(config.max_concurrent_requests, clock)
        self._capacity = config.max_concurrent_requests + config.max_queued_requests
        self._uploads: list[AdmittedRequest] = []
        """Requests whose body is arriving."""
        self._queue: list[AdmittedRequest] = []
        """Requests that wait for work or are worked on."""
        self._idle = asyncio.Event()
        """Set while the queue is empty."""
        self._idle.set()
        self._large: list[AdmittedRequest] = []
        self._times = MachineTimes(typical_s)
        self._retries = Retries(clock)
        self._large_retries = Retries(clock)

    @property
    def scheduler(self) -> Scheduler:
        return self._scheduler

    @property
    def num_queued(self) -> int:
        """Requests that wait for work or are worked on."""
        return len(self._queue)

    @property
    def capacity(self) -> int:
        """Requests that may wait for work or be worked on at once."""
        return self._capacity

    @contextmanager
    def admit(self, address: str, kind: str, deadline: float) -> Iterator["AdmittedRequest"]:
        """Admit one request for as long as the block lasts; raises RateLimited or ServerBusy.

        `kind` is that of its work: requests of one kind are expected to take the same time.
        """
        self._require_place()
        available_mb = self._available_memory_mb()
        if available_mb < self._config.min_free_memory_mb:
            raise self._busy(
                f"Only {available_mb:.0f} MB of memory are free, and {self._config.min_free_memory_mb:.0f} MB are kept "
                "free; close other programs or try again later."
            )
        if len(self._uploads) >= self._config.max_uploads and not self._evict_slow(self._uploads):
            raise self._busy(
                f"The server is receiving {len(self._uploads)} uploads, the most that it takes at once; try again in a "
                "moment."
            )
        self.count(address)
        admitted = AdmittedRequest(self, self._scheduler.new_client(), kind, deadline)
        self._uploads.append(admitted)
        self._retries.count_arrival()
        try:
            yield admitted
        except DeadlineExceeded:
            self._measure(admitted)  # it would have taken at least as long
            raise
        else:
            self._measure(admitted)
        finally:
            for requests in (self._uploads, self._queue, self._large):
                if admitted in requests:
                    requests.remove(admitted)
            if not self._queue:
                self._idle.set()

    def count(self, address: str) -> None:
        """Count a request against the rate limit of its client; raises RateLimited. `admit` does so, too."""
        if self._rate_limit:
            self._rate_limit.count(address)

    async def wait_until_idle(self) -> None:
        """Return when no request waits for work or is worked on, but after `MAX_BACKGROUND_WAIT_S` in any case.

        Background work waits for this before each step.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), MAX_BACKGROUND_WAIT_S)

    def _measure(self, admitted: "AdmittedRequest") -> None:
        if admitted.client.num_steps:
            self._times.add(admitted.kind, self._scheduler.machine_seconds(admitted.client))

    def _require_place(self) -> None:
        if len(self._queue) >= self._capacity:
            raise self._busy("The server's queue is full; try again in a moment.")

    def _enqueue(self, admitted: "AdmittedRequest") -> None:
        self._require_place()
        self._uploads.remove(admitted)
        self._queue.append(admitted)
        self._idle.clear()

    def _count_large(self, admitted: "AdmittedRequest") -> None:
        if len(self._large) >= self._config.max_large_uploads and not self._evict_slow(self._large):
            error = ServerBusy(
                f"The server has {len(self._large)} large uploads in memory, the most that it takes at once; try again "
                "in a moment."
            )
            error.retry_after_s = self._large_retries.next_s(self._outlook(self._large, self._config.max_large_uploads))
            raise error
        self._large.append(admitted)

    def _require_memory(self, admitted: "AdmittedRequest") -> None:
        """Make room for what has arrived of the bodies that do not count as large; raises ServerBusy."""
        limit_bytes = self._config.upload_memory_mb * MEGABYTE
        while self._upload_bytes() > limit_bytes:
            others = [upload for upload in self._uploads if upload is not admitted and not upload.is_large]
            if not self._evict_slow(others):
                raise self._busy(
                    f"The server has {self._config.upload_memory_mb:.0f} MB of uploads in memory, the most that it "
                    "takes at once; try again in a moment."
                )

    def _upload_bytes(self) -> int:
        return sum(upload.num_bytes for upload in self._uploads if not upload.is_large)

    def _evict_slow(self, uploads: "Sequence[AdmittedRequest]") -> bool:
        """End the slowest of those uploads that are too slow; returns whether there is one."""
        slow = [upload for upload in uploads if upload in self._uploads and upload.is_slow]
        if not slow:
            return False
        victim = min(slow, key=lambda upload: upload.bytes_per_s)
        self._uploads.remove(victim)
        if victim in self._large:
            self._large.remove(victim)
        victim.evict(
            ServerBusy(
                f"The upload is too slow ({victim.bytes_per_s / 1024:.1f} kB/s), and others need its place; try again "
                "over a faster connection."
            )
        )
        return True

    def _busy(self, message: str) -> ServerBusy:
        """Return the error for a request that needs a place in the queue, with the time after which it finds one."""
        error = ServerBusy(message)
        error.retry_after_s = self._retries.next_s(self._outlook(self._queue, self._capacity))
        return error

    def _outlook(self, requests: "Sequence[AdmittedRequest]", num_places: int) -> "Outlook":
        """Estimate when the requests that hold these places will be answered."""
        seconds = [
            self._times.left(request.kind, self._scheduler.machine_seconds(request.client)) for request in requests
        ]
        each = sum(seconds) / len(seconds) if seconds else self._times.mean()
        now = time.time()
        return Outlook(num_places, each, [request.deadline - now for request in requests])


class AdmittedRequest:
    """A request that was admitted and is not answered yet."""

    def __init__(self, admission: Admission, client: Client, kind: str, deadline: float) -> None:
        self.client = client
        """Whom the scheduler gives its steps."""
        self.kind = kind
        self.deadline = deadline
        self.is_large = False
        self.num_bytes = 0
        """What has arrived of its body."""
        self._declared_bytes = 0
        self._admission = admission
        self._admitted_at = admission._clock()
        self._on_evict: Callable[[], None] = lambda: None
        self._eviction: ServerBusy | None = None

    def follow(self, emit: Emit | None) -> None:
        """Have the event `queued` emitted whenever the request's position in the queue changes."""
        if emit is not None:
            self.client.on_position = lambda position: emit("queued", {"position": position})

    def will_hold(self, num_bytes: int) -> None:
        """Declare that the request will hold this much of its body in memory.

        Raises ServerBusy if that makes it a large one and there are `max_large_uploads` of those already.
        """
        self._declared_bytes = max(self._declared_bytes, num_bytes)
        if not self.is_large and num_bytes > self._admission._large_body_bytes:
            self._admission._count_large(self)
            self.is_large = True

    def has_received(self, num_bytes: int) -> None:
        """Count this much of the body, in all; raises ServerBusy if it does not fit into memory."""
        self.num_bytes = num_bytes
        self.will_hold(num_bytes)
        if not self.is_large:
            self._admission._require_memory(self)

    def enqueue(self) -> None:
        """Take a place in the queue, now that the body is there; raises ServerBusy if there is none."""
        self.raise_eviction()
        self._admission._enqueue(self)

    @contextmanager
    def evictable(self, on_evict: Callable[[], None]) -> Iterator[None]:
        """Have `on_evict` called in the block when another upload takes this one's place."""
        self._on_evict = on_evict
        try:
            yield
        finally:
            self._on_evict = lambda: None

    def evict(self, error: ServerBusy) -> None:
        self._eviction = error
        self._on_evict()

    def raise_eviction(self) -> None:
        """Raise the ServerBusy that says so if the request has lost its place to others."""
        if self._eviction is not None:
            raise self._eviction

    @property
    def bytes_per_s(self) -> float:
        return self.num_bytes / max(self._age_s, 1e-3)

    @property
    def is_slow(self) -> bool:
        """Whether others may take its place: it is slow, or will not be complete by its deadline."""
        if self._age_s < SLOW_AFTER_S:
            return False
        expected = self.num_bytes + self.bytes_per_s * (self.deadline - time.time())
        return self.bytes_per_s < MIN_BYTES_PER_S or expected < self._declared_bytes

    @property
    def _age_s(self) -> float:
        return self._admission._clock() - self._admitted_at


class MachineTimes:
    """The seconds that the machine works on a request, a moving average for each kind."""

    def __init__(self, typical_s: float) -> None:
        self._typical_s = typical_s
        self._averages: dict[str, float] = {}
        self._num_measured: Counter[str] = Counter()

    def add(self, kind: str, seconds: float) -> None:
        average = self._averages.get(kind, self._typical_s)
        self._num_measured[kind] += 1
        # The first ones count as much as `typical_s`: the very first request may be an odd one.
        weight = max(SMOOTHING, 1 / (self._num_measured[kind] + 1))
        self._averages[kind] = average + weight * (seconds - average)

    def left(self, kind: str, spent_s: float) -> float:
        """Return the seconds that are left for a request on which `spent_s` have been spent."""
        expected = self._averages.get(kind, self._typical_s)
        # One that takes longer than expected may take as long again.
        return expected - spent_s if spent_s < 0.9 * expected else max(expected, spent_s) / 4

    def mean(self) -> float:
        """Return the seconds of a request of unknown kind."""
        return sum(self._averages.values()) / len(self._averages) if self._averages else self._typical_s


@dataclass(frozen=True)
class Outlook:
    """What is known about places that clients wait for."""

    num_places: int
    seconds_each: float
    """The machine answers one of the requests that hold places in this time."""
    deadlines_s: Sequence[float]
    """For each request that holds a place, the seconds until it is answered at the latest."""

    def num_held(self, after_s: float, arrivals_s: Sequence[float]) -> float:
        """Return how many places will be held after that time if others come after `arrivals_s`, in order."""
        present, arrived, time_s = float(len(self.deadlines_s)), 0.0, 0.0
        for arrival_s in (*arrivals_s, after_s):
            answered = (min(arrival_s, after_s) - time_s) / (MARGIN * self.seconds_each)
            time_s = min(arrival_s, after_s)
            arrived = max(0.0, arrived - max(0.0, answered - present)) + 1
            present = max(0.0, min(present - answered, sum(deadline_s > time_s for deadline_s in self.deadlines_s)))
        return present + arrived - 1


class Retries:
    """Tells refused clients when to come, so that each finds a place."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[float] = []
        """When clients that were refused will come, in order."""

    def next_s(self, outlook: Outlook) -> int:
        """Return the seconds after which one more client should come, at most MAX_RETRY_AFTER_S."""
        now = self._clock()
        self._due = [due for due in self._due if due >= now - 1]  # the others have given up
        if len(self._due) >= MAX_EXPECTED_CLIENTS:
            return min(math.ceil(self._due[-1] - now) + 1, MAX_RETRY_AFTER_S)
        limit = max((1 - FREE_PART) * outlook.num_places - 1, 0.0)
        wait_s = 1
        while wait_s < MAX_RETRY_AFTER_S:
            arrivals_s = [max(due - now, 0.0) for due in self._due if due - now <= wait_s + SAME_TIME_S]
            if outlook.num_held(wait_s, arrivals_s) <= limit:
                break
            wait_s = min(wait_s + max(1, wait_s // 10), MAX_RETRY_AFTER_S)
        bisect.insort(self._due, now + wait_s)
        return wait_s

    def count_arrival(self) -> None:
        """Count a client that has found a place: one that was told to come at about this time, if there is one."""
        if self._due and self._due[0] <= self._clock() + 1:
            del self._due[0]


class RateLimit:
    """Allows each address at most `per_hour` requests in any period of an hour. `clock` returns seconds."""

    def __init__(self, per_hour: int, clock: Clock = time.monotonic) -> None:
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
