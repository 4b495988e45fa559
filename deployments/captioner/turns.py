"""One model, several requests: they take turns at the cores, a step each."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turns:
    """Lets one thread at a time work, in the order of asking.

    Two steps at once would each get half of the cores and spoil each other's caches, so nothing is won by them; and a
    thread that passes its turn on after every step keeps a long request from holding up a short one.
    """

    def __init__(self, after_last: Callable[[], None] = lambda: None) -> None:
        """Call `after_last` whenever a turn ends and nobody waits."""
        self._after_last = after_last
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._is_taken = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn inside."""
        self._take()
        try:
            yield
        finally:
            self._give()

    def pass_on(self) -> None:
        """Let all that wait have their turn first; to be called by the holder."""
        with self._lock:
            if not self._waiting:
                return
            mine = threading.Event()
            self._waiting.append(mine)
            self._waiting.popleft().set()
        mine.wait()

    def _take(self) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def _give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
                return
        self._after_last()
        with self._lock:
            if self._waiting:  # somebody came meanwhile
                self._waiting.popleft().set()
            else:
                self._is_taken = False
