"""A fair lock: threads that share one model take turns at it, one step each."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class FairLock:
    """A lock that waiting threads get in the order in which they asked for it.

    Running two model steps at once gains nothing: each gets half of the cores and evicts the other's data from the CPU
    caches. A holder that calls `yield_to_waiters` after every step keeps a long request from delaying a short one.
    """

    def __init__(self, on_idle: Callable[[], None] = lambda: None) -> None:
        """`on_idle` is called whenever the lock is released and no thread is waiting for it."""
        self._on_idle = on_idle
        self._mutex = threading.Lock()
        self._waiters: deque[threading.Event] = deque()
        self._is_held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for the duration of the context."""
        self._acquire()
        try:
            yield
        finally:
            self._release()

    def yield_to_waiters(self) -> None:
        """Let every thread that is waiting now hold the lock first. Only the holder may call this."""
        with self._mutex:
            if not self._waiters:
                return
            granted = threading.Event()
            self._waiters.append(granted)
            self._waiters.popleft().set()
        granted.wait()

    def _acquire(self) -> None:
        with self._mutex:
            if not self._is_held:
                self._is_held = True
                return
            granted = threading.Event()
            self._waiters.append(granted)
        granted.wait()

    def _release(self) -> None:
        with self._mutex:
            if self._waiters:
                self._waiters.popleft().set()
                return
        self._on_idle()
        with self._mutex:
            if self._waiters:  # a thread started to wait during on_idle
                self._waiters.popleft().set()
            else:
                self._is_held = False
