"""What glibc's malloc does with memory that is freed; where malloc is another, nothing is changed."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""`mallopt` parameters, from glibc's malloc.h."""
_LARGEST_TEMPORARY = 32 * 1024 * 1024
"""What a layer works with is smaller, and is to be found again by the next; Moondream2's keys and values are larger,
and are to go back to the system when they are dropped."""
_KEPT_FREE = 256 * 1024 * 1024


ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""What a process that runs large models is to be started with: without it, what malloc cuts off to align a tensor goes
into a store of small blocks, and a later tensor of the same size no longer fits where the first was. Five pictures then
cost a quarter of a gigabyte. Only the environment can switch it off."""


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
