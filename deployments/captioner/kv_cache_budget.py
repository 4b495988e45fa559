"""The memory that KV caches may take, shared by running sequences and recent images."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deployments.lru_cache import LRUCache


class KVCacheBudget:
    """Limits the KV caches of running sequences and of recent images to `max_bytes` together.

    Running sequences come first: recent images are evicted to make room for them.
    """

    def __init__(self, max_bytes: int, image_cache: LRUCache[Any]) -> None:
        self._max_bytes = max_bytes
        self._image_cache = image_cache
        self._reserved = 0
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, bytes_per_sequence: int, max_sequences: int) -> Iterator[int]:
        """Reserve memory for the duration of the context; yield for how many sequences.

        As many as fit, at least one and at most `max_sequences`.
        """
        with self._lock:
            num_sequences = max(1, min(max_sequences, (self._max_bytes - self._reserved) // bytes_per_sequence))
            self._reserved += num_sequences * bytes_per_sequence
            self._evict_images()
        try:
            yield num_sequences
        finally:
            with self._lock:
                self._reserved -= num_sequences * bytes_per_sequence
                self._evict_images()

    def _evict_images(self) -> None:
        self._image_cache.evict_down_to(max(0, self._max_bytes - self._reserved))
