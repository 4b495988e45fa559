"""How far an analysis is, and how long it will still take: the events that a client may follow."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deployments.units import MEGABYTE
from serve_app.scheduling import Client
from serve_app.speeds import Speeds

Emit = Callable[[str, dict[str, Any]], None]
"""Takes the name and the data of an event."""

PERIOD_S = 0.25
"""`progress` is sent at most so often within a stage."""
MIN_FRACTION = 0.2
"""From this fraction of a stage on, its own pace says how long the rest takes; before, the machine's past speed."""


@dataclass
class Stage:
    """A part of an analysis."""

    name: str
    """As the event shows it."""
    work: str
    """The name under which its speed is kept: the same work of another model is other work."""
    units: float | None
    """How much work it is; None as long as that is not known."""


class Progress:
    """The progress of one analysis. Without `emit`, nobody follows it."""

    def __init__(
        self,
        emit: Emit | None,
        speeds: Speeds,
        client: Client,
        num_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`client` is the request to which the analysis belongs, `num_bytes` the size of its file."""
        self.speeds = speeds
        self.client = client
        self.num_megabytes = num_bytes / MEGABYTE
        self.clock = clock
        self._emit = emit
        self._tracks: list[Track] = []

    @property
    def is_live(self) -> bool:
        """Whether a client follows, so that partial results are of use."""
        return self._emit is not None

    def emit(self, name: str, **data: Any) -> None:
        if self._emit is not None:
            self._emit(name, data)

    def track(self, *stages: Stage) -> "Track":
        """Return a track of stages that follow each other; several tracks run side by side."""
        track = Track(self, stages)
        self._tracks.append(track)
        return track

    def seconds_left(self) -> float | None:
        """Return for how long the slowest track will take; None if that is not known."""
        seconds = [track.seconds_left() for track in self._tracks]
        known = [value for value in seconds if value is not None]
        return max(known, default=0.0) if len(known) == len(seconds) else None


class Track:
    """Stages of an analysis, one after another."""

    def __init__(self, progress: Progress, stages: tuple[Stage, ...]) -> None:
        self._progress = progress
        self._stages = stages
        self._current = 0
        self._fraction: float | None = None
        self._entered_at: float | None = None
        """When the current stage began; None before the first one."""
        self._waited_s = 0.0
        """How long the request had waited for others when the current stage began."""
        self._emitted_at = 0.0
        self._measured: list[tuple[Stage, float]] = []
        self._is_done = False

    def resize(self, name: str, units: float) -> None:
        """Say how much work a stage is, once that is known."""
        self._stages[self._index(name)].units = units

    def advance(self, name: str, fraction: float | None) -> None:
        """Say that a stage is being worked on, and how much of it is done; None if that cannot be measured."""
        index = self._index(name)
        now = self._progress.clock()
        is_new = index != self._current or self._entered_at is None
        if is_new:
            self._leave(now)
            self._current = index
        self._fraction = fraction
        if is_new or now >= self._emitted_at + PERIOD_S:
            self._emitted_at = now
            seconds = self._progress.seconds_left()
            self._progress.emit(
                "progress",
                stage=name,
                fraction=None if fraction is None else round(fraction, 3),
                eta_seconds=None if seconds is None else round(seconds, 1),
            )

    def done(self, *, is_typical: bool = True) -> None:
        """Say that all stages are over, and remember how long they took: not if the work was reused, nor where the
        request had to wait for others."""
        self._leave(self._progress.clock())
        self._is_done = True
        if is_typical:
            self._progress.speeds.add(
                [(stage.work, stage.units, seconds) for stage, seconds in self._measured if stage.units]
            )

    def seconds_left(self) -> float | None:
        """Return the seconds until the last stage is over; None if a stage has no known speed."""
        if self._is_done:
            return 0.0
        seconds = [self._seconds_left_of_current(), *map(self._expected, self._stages[self._current + 1 :])]
        known = [value for value in seconds if value is not None]
        return sum(known) if len(known) == len(seconds) else None

    def _seconds_left_of_current(self) -> float | None:
        elapsed = 0.0 if self._entered_at is None else self._progress.clock() - self._entered_at
        fraction = self._fraction
        if fraction is not None and fraction >= MIN_FRACTION:
            return elapsed / fraction * (1 - fraction)
        expected = self._expected(self._stages[self._current])
        if expected is None:
            return None
        return max(expected - elapsed, 0.0) if fraction is None else expected * (1 - fraction)

    def _expected(self, stage: Stage) -> float | None:
        return None if stage.units is None else self._progress.speeds.seconds(stage.work, stage.units)

    def _leave(self, now: float) -> None:
        waited_s = self._progress.client.waited_s
        if self._entered_at is not None and waited_s == self._waited_s:
            self._measured.append((self._stages[self._current], now - self._entered_at))
        self._entered_at, self._waited_s = now, waited_s

    def _index(self, name: str) -> int:
        return next(index for index, stage in enumerate(self._stages) if stage.name == name)
