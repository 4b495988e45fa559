"""How kernels are compiled by numba, and how Python calls them.

A kernel is a function that numba compiles for this CPU at its first call, or loads from the kernel cache.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import torch

from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.kernel_cache import KernelCache
from deployments.inference.numba_math import FASTMATH
from deployments.log import logger

PACKAGE_CACHE = "package"
"""Name of the KernelCache of this package's kernels."""
_MAX_SAVES_PER_CALL = 8
"""More kernels than any kernel compiles at its first call, itself included."""

_kernels: list[tuple[Any, bool]] = []
_not_cached_yet: list[Any] = []
_enable_lock = threading.Lock()
_numba_lock = threading.RLock()


def kernel(*, parallel: bool, needs_vnni: bool = False) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that makes a function a kernel, called by other kernels or through `on_torch_threads`.

    `parallel` says that it contains prange. Division by zero gives infinity or NaN, as in numpy: a check would keep
    LLVM from vectorizing.
    """

    def decorate(function: Callable[..., None]) -> Any:
        dispatcher = numba.njit(function, parallel=parallel, nogil=True, fastmath=FASTMATH, error_model="numpy")
        _kernels.append((dispatcher, needs_vnni))
        _not_cached_yet.append(dispatcher)
        return dispatcher

    return decorate


def kernels() -> list[Any]:
    """Return the dispatchers of all kernels that this CPU can run, of the modules that were imported."""
    return [dispatcher for dispatcher, needs_vnni in _kernels if local_vnni_vector_bytes() or not needs_vnni]


def on_torch_threads(dispatcher: Any) -> Callable[..., None]:
    """Return a kernel as Python calls it: it runs on as many threads as torch is set to."""

    def call(*arguments: Any) -> None:
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
                # It was compiled, but could not be saved; numba raises once for each kernel inside.
                if attempt == _MAX_SAVES_PER_CALL - 1:
                    raise
                logger.warning("A compiled kernel cannot be saved, so each start will compile it again: %s", error)
        if torch.get_num_threads() != num_threads:
            # Numba runs on torch's OpenMP threads, and its first call sets their number to all that the machine has.
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


def call_cached(dispatcher: Any, name: str, *arguments: Any) -> None:
    """Call another package's numba function, its compiled code loaded from the kernel cache, or saved there."""
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
        logger.warning("%s cannot be saved compiled, so each start will compile it again: %s", name, error)
        call(*arguments)


@contextmanager
def numba_lock() -> Iterator[None]:
    """Hold this around every call of numba's parallel code: some of its threading layers admit only one caller.

    Its OpenMP layer admits several, but needs the system's libgomp. Where that is missing, a second caller would make
    numba end the process.
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
