"""What the captioner keeps in memory beside its weights, within budgets of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class RecentlyUsed(Generic[V]):
    """Values by key, of which the least recently used make room for new ones; may be used by several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def take(self, key: Hashable) -> V | None:
        """Return the value and forget it: nobody else gets it meanwhile."""
        with self._lock:
            value, nbytes = self._values.pop(key, (None, 0))
            self.nbytes -= nbytes
            return value

    def put(self, key: Hashable, value: V, nbytes: int) -> None:
        """Keep a value of that size, unless it alone is too large."""
        self.take(key)
        if nbytes > self._max_bytes:
            return
        with self._lock:
            self._values[key] = (value, nbytes)
            self.nbytes += nbytes
        self.shrink(self._max_bytes)

    def shrink(self, max_bytes: int) -> None:
        """Forget the least recently used until the rest takes no more than that."""
        with self._lock:
            while self.nbytes > max_bytes:
                _, (_, nbytes) = self._values.popitem(last=False)
                self.nbytes -= nbytes


class KeyValueMemory:
    """Shares out memory for the keys and values of running sequences; those of recent images give way to them."""

    def __init__(self, max_bytes: int, kept: RecentlyUsed[Any]) -> None:
        self._max_bytes = max_bytes
        self._kept = kept
        self._running = 0
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, nbytes: int, wanted: int) -> Iterator[int]:
        """Give how many sequences of `nbytes` each, of those wanted, may run inside: as many as fit, at least one."""
        with self._lock:
            count = max(1, min(wanted, (self._max_bytes - self._running) // nbytes))
            self._running += count * nbytes
            self._kept.shrink(max(0, self._max_bytes - self._running))
        try:
            yield count
        finally:
            with self._lock:
                self._running -= count * nbytes
                self._kept.shrink(max(0, self._max_bytes - self._running))
