"""How numba compiles kernels, and how Python calls them.

A kernel is a function that numba compiles for this CPU at its first call, or loads from the kernel cache.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numba
import torch

from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.kernel_cache import Dispatcher, KernelCache
from deployments.inference.numba_math import FASTMATH
from deployments.log import logger

PACKAGE_CACHE = "package"
"""Name of the KernelCache of this package's kernels."""
_MAX_SAVES_PER_CALL = 8
"""Upper bound of the kernels that a first call compiles: the kernel itself and those that it calls."""

_kernels: list[tuple[Dispatcher, bool]] = []
"""All kernels, each with its `needs_vnni`."""
_not_cached_yet: list[Dispatcher] = []
"""Kernels for which the cache is not enabled yet."""
_enable_lock = threading.Lock()
_numba_lock = threading.RLock()


def kernel(*, parallel: bool, needs_vnni: bool = False) -> Callable[[Callable[..., None]], Dispatcher]:
    """Return a decorator that makes a function a kernel. Other kernels call it directly, Python by `on_torch_threads`.

    `parallel` means that it contains prange, `needs_vnni` that it uses the intrinsics of `vnni.py`. Division by zero
    gives infinity or NaN, as in numpy; checking for it would keep LLVM from vectorizing.
    """

    def decorate(function: Callable[..., None]) -> Dispatcher:
        dispatcher: Dispatcher = numba.njit(
            function, parallel=parallel, nogil=True, fastmath=FASTMATH, error_model="numpy"
        )
        _kernels.append((dispatcher, needs_vnni))
        _not_cached_yet.append(dispatcher)
        return dispatcher

    return decorate


def kernels() -> list[Dispatcher]:
    """Return all kernels that this CPU can run, from the modules imported so far."""
    return [dispatcher for dispatcher, needs_vnni in _kernels if local_vnni_vector_bytes() or not needs_vnni]


def on_torch_threads(dispatcher: Dispatcher) -> Callable[..., None]:
    """Return a function that calls a kernel from Python, cached, on as many threads as torch is set to.

    If the compiled code cannot be saved, a warning is logged and the kernel runs all the same.
    """

    def call(*arguments: object) -> None:
        if _not_cached_yet:
            _enable_cache()
        num_threads = torch.get_num_threads()
        numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))
        for attempt in range(_MAX_SAVES_PER_CALL):
            try:
                with numba_lock():
                    dispatcher(*arguments)
                break
            except OSError as error:
                # A kernel was compiled, but could not be saved. Numba raises this once for each kernel in the call.
                if attempt == _MAX_SAVES_PER_CALL - 1:
                    raise
                logger.warning("A compiled kernel cannot be saved, so each start will compile it again: %s", error)
        if torch.get_num_threads() != num_threads:
            # Numba runs on torch's OpenMP threads; its first call sets their number to that of all CPUs.
            torch.set_num_threads(num_threads)

    return call


def _enable_cache() -> None:
    with _enable_lock:
        if not _not_cached_yet:
            return
        try:
            cache = KernelCache(PACKAGE_CACHE)
            for dispatcher in _not_cached_yet:
                cache.enable_for(dispatcher)
        except (OSError, RuntimeError) as error:
            logger.warning("Compiled kernels cannot be saved, so each start will compile them again: %s", error)
        _not_cached_yet.clear()


def call_cached(dispatcher: Dispatcher, name: str, *arguments: object) -> None:
    """Call another package's numba function; its compiled code is kept in the KernelCache with this name."""
    call = on_torch_threads(dispatcher)
    try:
        cache = KernelCache(name)
        with cache.lock():
            if not cache.is_complete():
                cache.clear()
            cache.enable_for(dispatcher)
            call(*arguments)
            if any(dispatcher.stats.cache_misses.values()):
                cache.seal()
    except (OSError, RuntimeError) as error:
        logger.warning("The compiled kernel %s cannot be saved, so each start will compile it again: %s", name, error)
        call(*arguments)


@contextmanager
def numba_lock() -> Iterator[None]:
    """Hold this lock during every call of numba's parallel code: some of its threading layers allow only one caller.

    Its OpenMP layer allows several, but needs the system's libgomp. Where that is missing, numba would end the process
    at a second simultaneous call.
    """
    if _has_thread_safe_layer():
        yield
        return
    with _numba_lock:
        yield


def _has_thread_safe_layer() -> bool:
    try:
        return bool(numba.threading_layer() in ("omp", "tbb"))
    except ValueError:  # Numba chooses the layer at its first parallel call.
        return False
