"""What the captioner keeps in memory beside its weights, within budgets of bytes."""

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

V = TypeVar("V")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""`mallopt` parameters, from glibc's malloc.h."""
_LARGEST_TEMPORARY = 32 * 1024 * 1024
"""What a layer works with is smaller, and is to be found again by the next; keys and values are larger, and are to go
back to the system when they are dropped."""
_KEPT_FREE = 256 * 1024 * 1024


def return_freed_memory() -> None:
    """Have malloc give back to the system what is freed, while weights are loaded, whose leftovers nobody reuses.

    Like `reuse_freed_memory` it does nothing where malloc is not glibc's.
    """
    _tell_malloc((_M_MMAP_THRESHOLD, 1024 * 1024), (_M_TRIM_THRESHOLD, 1024 * 1024))


def reuse_freed_memory() -> None:
    """Have malloc keep what layers free for the layers after them.

    By default each large temporary is mapped anew and filled with zeros, a third of the time of reading a picture.
    """
    _tell_malloc((_M_MMAP_THRESHOLD, _LARGEST_TEMPORARY), (_M_TRIM_THRESHOLD, _KEPT_FREE), (_M_ARENA_MAX, 1))


def trim_freed_memory() -> None:
    """Return to the system what malloc keeps free, now that a request is over."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _tell_malloc(*settings: tuple[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting in settings:
            mallopt(*setting)


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
