"""Decides which analysis makes its next call to a deployment. Such a call is a step.

A step cannot be interrupted, and one step of a long analysis takes seconds. So a long step never gets the last place of
a deployment that short steps need too. Where both wait, short steps go first, but a long one at least every other time.
Analyses of the same kind take turns: next is the one whose last step ended the longest time ago.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from deployments.errors import DeadlineExceeded
from deployments.worker_threads import MAX_CONCURRENT_CALLS
from serve_app.graph import CAPTIONER

Length = Literal["short", "long_call", "long"]
"""How long an analysis may take.

`short`: one call that is over in a moment. `long_call`: one call that may take long, and holds little memory.
`long`: takes long; at most `max_concurrent_requests` of these are in progress at once.
"""

_ANALYSES = "(analyses)"
"""The lane of long analyses in progress; the other lanes are deployments."""
_WAITING = "it was still waiting for its turn"


class Client:
    """A request, to the scheduler: its place in the round, and the time that the machine has spent on it."""

    def __init__(self) -> None:
        self.last_turn = 0
        """A number that is larger for a client whose last step ended later."""
        self.on_position: Callable[[int], None] = lambda position: None
        """Called when its position in the queue changes: 0 when it is worked on, 1 when it is next, and so on."""
        self.position: int | None = None
        self.waited_s = 0.0
        """Seconds for which its steps have waited for those of others."""
        self.num_steps_held = 0
        """The places for steps that it holds."""
        self.machine_s = 0.0
        """Seconds in which its steps ran; when those of `n` requests run at once, each gets an `n`th of the time."""
        self.num_steps = 0

    def move_to(self, position: int) -> None:
        if position != self.position:
            self.position = position
            self.on_position(position)


@dataclass(frozen=True)
class _Place:
    """What a step takes while it runs."""

    client: Client
    lane: str
    is_long: bool


class Scheduler:
    """Hands out places for steps. Use it on one event loop only."""

    def __init__(self, max_concurrent: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`max_concurrent` long analyses are in progress at once, and as many calls to one deployment."""
        self._max_analyses = max_concurrent
        # A replica has that many threads; more calls would only wait there, out of our control.
        self._max_calls = min(max_concurrent, MAX_CONCURRENT_CALLS)
        # The captioner's threads take turns at the model, so that a second long call would gain nothing.
        self._max_long_calls = {CAPTIONER.name: max(1, self._max_calls - 1)}
        self._clock = clock
        self._turn = 0
        self._waiting: dict[asyncio.Future[None], _Place] = {}
        self._num_held: Counter[str] = Counter()
        self._num_long_held: Counter[str] = Counter()
        self._lanes_after_short: set[str] = set()
        """Lanes in which the last place went to a short step."""
        self._running: Counter[Client] = Counter()
        self._measured_at = clock()

    def new_client(self) -> Client:
        client = Client()
        self._take_turn(client)
        return client

    @asynccontextmanager
    async def analysis(self, client: Client, length: Length, deadline: float) -> AsyncIterator["Steps"]:
        """Wait until an analysis of this length may begin; yields what its steps go through.

        Raises DeadlineExceeded.
        """
        if length != "long":
            yield Steps(self, client, is_long=length != "short")
            return
        place = _Place(client, _ANALYSES, is_long=True)
        await self._acquire(place, deadline)
        try:
            yield Steps(self, client, is_long=True)
        finally:
            self._release(place)

    def machine_seconds(self, client: Client) -> float:
        """Return `client.machine_s`, up to now."""
        self._measure()
        return client.machine_s

    @asynccontextmanager
    async def _step(self, place: _Place, deadline: float) -> AsyncIterator[None]:
        await self._acquire(place, deadline)
        self._measure()
        self._running[place.client] += 1
        try:
            yield
        finally:
            self._measure()
            self._running -= Counter({place.client: 1})  # drops clients without a running step
            place.client.num_steps += 1
            self._take_turn(place.client)
            self._release(place)

    async def _acquire(self, place: _Place, deadline: float) -> None:
        if time.time() >= deadline:
            raise DeadlineExceeded(_WAITING)
        granted = asyncio.get_running_loop().create_future()
        self._waiting[granted] = place
        self._hand_out()
        if granted.done():
            return
        since = self._clock()
        try:
            async with asyncio.timeout(deadline - time.time()):
                await granted
            place.client.waited_s += self._clock() - since
        except BaseException as error:
            if granted.done() and not granted.cancelled():
                self._release(place)
            self._waiting.pop(granted, None)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(_WAITING) from None
            raise

    def _release(self, place: _Place) -> None:
        place.client.num_steps_held -= place.lane != _ANALYSES
        self._num_held[place.lane] -= 1
        self._num_long_held[place.lane] -= place.is_long
        self._hand_out()

    def _hand_out(self) -> None:
        while free := [item for item in self._waiting.items() if not item[0].done() and self._is_free(item[1])]:
            granted, place = min(free, key=lambda item: self._rank(item[1]))
            del self._waiting[granted]
            self._num_held[place.lane] += 1
            self._num_long_held[place.lane] += place.is_long
            (self._lanes_after_short.discard if place.is_long else self._lanes_after_short.add)(place.lane)
            place.client.num_steps_held += place.lane != _ANALYSES
            place.client.move_to(0)
            granted.set_result(None)
        self._tell_positions()

    def _tell_positions(self) -> None:
        waiting = [place for place in self._waiting.values() if not place.client.num_steps_held]
        for place in waiting:
            rank = self._rank(place)
            place.client.move_to(
                1 + sum(other.lane == place.lane and self._rank(other) < rank for other in self._waiting.values())
            )

    def _rank(self, place: _Place) -> tuple[bool, int]:
        long_first = place.lane in self._lanes_after_short and not self._num_long_held[place.lane]
        return place.is_long != long_first, place.client.last_turn

    def _is_free(self, place: _Place) -> bool:
        held, long_held = self._num_held[place.lane], self._num_long_held[place.lane]
        if place.lane == _ANALYSES:
            return held < self._max_analyses
        max_long = self._max_long_calls.get(place.lane, self._max_calls)
        return held < self._max_calls and not (place.is_long and long_held >= max_long)

    def _take_turn(self, client: Client) -> None:
        self._turn += 1
        client.last_turn = self._turn

    def _measure(self) -> None:
        now = self._clock()
        for client in self._running:
            client.machine_s += (now - self._measured_at) / len(self._running)
        self._measured_at = now


class Steps:
    """The steps of one analysis."""

    def __init__(self, scheduler: Scheduler, client: Client, *, is_long: bool) -> None:
        self._scheduler = scheduler
        self._client = client
        self._is_long = is_long

    @asynccontextmanager
    async def step(self, deployment: str, deadline: float) -> AsyncIterator[None]:
        """Wait for a place for a call to a deployment and hold it in the block; raises DeadlineExceeded."""
        async with self._scheduler._step(_Place(self._client, deployment, self._is_long), deadline):
            yield
