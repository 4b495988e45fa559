"""Recent answers, so that the same request about the same image is answered at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.captioner.types import Caption
from deployments.lru_cache import LRUCache

BYTES_PER_ENTRY = 1024
"""Estimated memory of a cached answer, not counting its text."""


@dataclass(frozen=True)
class CachedAnswer:
    caption: Caption
    image_size: tuple[int, int]
    """Width and height in pixels, after EXIF orientation."""


class AnswerCache:
    """An LRU cache of answers. Keys come from `answer_key`."""

    def __init__(self, max_bytes: int) -> None:
        self._answers: LRUCache[CachedAnswer] = LRUCache(max_bytes)

    def get(self, key: bytes) -> CachedAnswer | None:
        return self._answers.get(key)

    def put(self, key: bytes, caption: Caption, image_size: tuple[int, int]) -> None:
        self._answers.put(key, CachedAnswer(caption, image_size), BYTES_PER_ENTRY + len(caption.text.encode()))


def answer_key(image_hash: bytes, prompt_ids: Sequence[int], max_new_tokens: int) -> bytes:
    """Return a hash of everything that an answer of one model depends on."""
    ids = np.array(prompt_ids, np.int32).tobytes()
    return hashlib.sha256(b"%b %d %b" % (image_hash, max_new_tokens, ids)).digest()
