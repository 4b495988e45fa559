"""How loops that torch has no operator for are compiled by numba, and what several of them are made of.

Compiled once and then kept: beside the file that has them, else in the user's cache folder, or where NUMBA_CACHE_DIR
says.
"""

import hashlib
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from deployments.log import logger

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, which is what lets them be vectorised; what is no number must stay none."""

SMALLEST_MAGNITUDE = np.float32(1e-30)
"""Of a row that is rounded: one that is all zeros is divided by this instead of by zero."""


_MAX_UNKEPT = 8
"""More loops than any other calls."""

LOOPS: list[Any] = []
"""What is compiled ahead."""

_one_at_a_time = threading.RLock()
_sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).digest()


def compiled(*, parallel: bool, is_prepared: bool = True) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that compiles a function, to be called by other compiled ones; `parallel` if it has prange.

    `is_prepared` says whether preparation.py compiles it, which puts it into LOOPS if it can be kept.
    Division by zero gives infinity or NaN, as in numpy: a check for it would keep loops from being vectorised.
    """

    def decorate(function: Callable[..., None]) -> Any:
        options = {"parallel": parallel, "nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}
        try:
            dispatcher = numba.njit(function, cache=True, **options)
        except RuntimeError:  # there is no folder to keep it in: each start compiles it again
            return numba.njit(function, **options)
        # Numba would look for changes in the function's own file only, but what it calls is in other files, too.
        dispatcher._cache._cache_file._source_stamp = _sources
        if is_prepared:
            LOOPS.append(dispatcher)
        return dispatcher

    return decorate


def keep(dispatcher: Any) -> None:
    """Have what numba compiles of another package's function kept for later starts, as `compiled` does with ours."""
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # there is no folder to keep it in: each start compiles it again
        return
    is_kept(dispatcher)  # which deletes what cannot be read


@contextmanager
def numba_turn() -> Iterator[None]:
    """Hold this around any call of numba's parallel code: not all of its threading layers bear two threads at once.

    Its OpenMP layer does, but needs the system's libgomp; where that is missing numba ends the process otherwise.
    """
    if _bears_several_threads():
        yield
        return
    with _one_at_a_time:
        yield


def _bears_several_threads() -> bool:
    try:
        return bool(numba.threading_layer() in ("omp", "tbb"))
    except ValueError:  # numba chooses at its first call
        return False


def on_torch_threads(dispatcher: Any) -> Callable[..., None]:
    """Return what `compiled` returned, to be called from Python: it runs on as many threads as torch has."""

    def run(*arguments: Any) -> None:
        num_threads = torch.get_num_threads()
        numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))
        for attempt in range(_MAX_UNKEPT):
            try:
                with numba_turn():
                    dispatcher(*arguments)
                break
            except OSError as error:
                # Compiled, but not kept; it raises once for each loop inside.
                if attempt == _MAX_UNKEPT - 1:
                    raise
                logger.warning("Compiled code cannot be kept, so each start will compile it again: %s", error)
        if torch.get_num_threads() != num_threads:
            # Numba runs on torch's own OpenMP threads, and its first call asks for as many as the machine has.
            torch.set_num_threads(num_threads)

    return run


def is_kept(loop: Any) -> bool:
    """Tell whether a loop need not be compiled, for any types: it was for this processor, since its source changed.

    What cannot be read of it, as after a power failure, is deleted: numba would fail on it.
    """
    file = loop._cache._cache_file
    try:
        kept = list(file._load_index())
    except (EOFError, LookupError, ValueError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        logger.warning("What was compiled before cannot be read, so it is done again: %r", error)
        Path(file._index_path).unlink()
        return False
    processor = loop.targetctx.codegen().magic_tuple()
    return any(of_processor == processor for _, of_processor, _ in kept)


def external(builder: Any, name: str, returned: Any, *taken: Any) -> Any:
    """Return a function of LLVM's, by its name and types, for the code that `builder` writes."""
    declared = builder.module.globals.get(name)
    return declared or ir.Function(builder.module, ir.FunctionType(returned, taken), name)


@intrinsic  # type: ignore[untyped-decorator]
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """Return the fp32 number that the bits of an int32 stand for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def _bits_of_float(typing_context: Any, number: Any) -> Any:
    """Return the bits of an fp32 number as an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def exp(x: Any) -> Any:
    """Return e to the power of x, to 2e-7 of its value; coefficients of expf in Cephes (Moshier)."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    power = np.rint(x * np.float32(1.44269504088896341))
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * rest + np.float32(1.3981999507e-3)
    y = y * rest + np.float32(8.3334519073e-3)
    y = y * rest + np.float32(4.1665795894e-2)
    y = y * rest + np.float32(1.6666665459e-1)
    y = y * rest + np.float32(5.0000001201e-1)
    y = y * rest * rest + rest + np.float32(1)
    return y * _float_of_bits((np.int32(power) + np.int32(127)) << np.int32(23))


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def greatest(x: Any) -> Any:
    """Return the greatest of fp32 numbers, NaN if one of them is.

    Their bits are compared, as integers in the same order: loops that compare floats are not vectorised.
    """
    found = np.int32(-0x80000000)
    for i in range(len(x)):
        bits = _bits_of_float(x[i])
        found = max(found, bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return _float_of_bits(found ^ ((found >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def round_row(x: Any, largest: Any, rounded: Any) -> Any:
    """Round fp32 numbers to integers in [-largest, largest] and return what one of these stands for."""
    # Without their sign, the bits of numbers are in the order of the numbers, and those that are none come last.
    bits = np.int32(0)
    for i in range(len(x)):
        bits = max(bits, _bits_of_float(x[i]) & np.int32(0x7FFFFFFF))
    magnitude = _float_of_bits(bits)
    if magnitude < SMALLEST_MAGNITUDE:
        magnitude = SMALLEST_MAGNITUDE
    factor = largest / magnitude
    for i in range(len(x)):
        rounded[i] = np.int8(np.rint(x[i] * factor))
    return magnitude / largest
