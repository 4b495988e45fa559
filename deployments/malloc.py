"""Tunes how memory is returned to the system. With any other malloc than glibc's, the functions about it do nothing."""

import ctypes
import mmap
import os

import numpy as np
from numpy.typing import NDArray

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""`mallopt` parameters, from glibc's malloc.h."""
_MADV_REMOVE = 9
"""From linux/mman.h; Python's mmap knows it only for its own mappings."""
_MAX_REUSED_BLOCK = 32 * 1024 * 1024
"""Bytes. Larger blocks go back to the system when they are freed. The temporaries of a layer are smaller, so that the
next layer can reuse them; Moondream2's KV cache is larger."""
_MAX_KEPT_FREE = 256 * 1024 * 1024
"""Bytes of free memory at the end of the heap that malloc keeps; more goes back to the system."""

MALLOC_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Environment for processes that run large models: switches off malloc's per-thread cache of small blocks.

The cache would keep the remainders that malloc cuts off when it aligns a tensor. A later tensor of the same size then
no longer fits into the freed block, and five images cost a quarter of a gigabyte. There is no `mallopt` call for this.
"""


def return_freed_memory() -> None:
    """Make malloc return freed memory to the system at once, while weights are loaded: nothing reuses it."""
    _mallopt((_M_MMAP_THRESHOLD, 1024 * 1024), (_M_TRIM_THRESHOLD, 1024 * 1024))


def reuse_freed_memory() -> None:
    """Make malloc keep freed memory, so that each layer reuses the temporaries of the layer before.

    By default, large temporaries are mapped and zeroed again each time, which takes a third of the time of encoding an
    image. A single arena lets all threads reuse the same memory.
    """
    _mallopt((_M_MMAP_THRESHOLD, _MAX_REUSED_BLOCK), (_M_TRIM_THRESHOLD, _MAX_KEPT_FREE), (_M_ARENA_MAX, 1))


def trim_freed_memory() -> None:
    """Return all free memory to the system; for the end of a request."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def free_shared_pages(array: NDArray[np.uint8]) -> None:
    """Return the memory of a contiguous array in shared memory to the system; its content is zero after that.

    For all processes: nobody may need it any more. Only whole pages are returned. Linux only; raises OSError.
    """
    address: int = array.ctypes.data
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    num_bytes = (address + array.nbytes - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if num_bytes <= 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(num_bytes), _MADV_REMOVE):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _mallopt(*settings: tuple[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting in settings:
            mallopt(*setting)
