"""Ends blocking work early: when its deadline passes, or when its caller is gone."""

import threading
import time

from deployments.errors import DeadlineExceeded


class WorkCancelled(Exception):
    """The caller is gone, so nobody waits for a result."""


class Cancellation:
    """Tells work in a thread when to end; the work calls `check` at every step.

    `deadline` is a point on the epoch clock (`time.time()`, seconds), which every process of the graph shares.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller is gone."""
        return self._cancelled.is_set()

    def check(self, progress: str = "") -> None:
        """Return if the work may go on.

        Raises WorkCancelled when the caller is gone, DeadlineExceeded(progress) when the deadline has passed.
        """
        if self._cancelled.is_set():
            raise WorkCancelled
        if time.time() >= self.deadline:
            raise DeadlineExceeded(progress)
