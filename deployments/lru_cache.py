"""A least-recently-used cache with a budget in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class LRUCache(Generic[V]):
    """Evicts the least recently used values once all values together exceed `max_bytes`. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0
        """Size of all cached values."""

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def pop(self, key: Hashable) -> V | None:
        """Remove and return the value, so that no other thread can get it meanwhile."""
        with self._lock:
            value, nbytes = self._values.pop(key, (None, 0))
            self.nbytes -= nbytes
            return value

    def put(self, key: Hashable, value: V, nbytes: int) -> None:
        """Cache a value of `nbytes`, unless it alone exceeds the budget. Any earlier value of `key` is removed."""
        self.pop(key)
        if nbytes > self._max_bytes:
            return
        with self._lock:
            self._values[key] = (value, nbytes)
            self.nbytes += nbytes
        self.evict_down_to(self._max_bytes)

    def evict_down_to(self, max_bytes: int) -> None:
        """Evict the least recently used values until the rest take at most `max_bytes`."""
        with self._lock:
            while self.nbytes > max_bytes:
                _, (_, nbytes) = self._values.popitem(last=False)
                self.nbytes -= nbytes
