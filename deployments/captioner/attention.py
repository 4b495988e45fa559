"""Attention of one new position to a cache in bf16, which torch does on CPUs slower than in fp32.

Compiled at first use and then kept: beside this file, else in the user's cache folder, or where NUMBA_CACHE_DIR says.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor


@intrinsic  # type: ignore[untyped-decorator]
def _widened(typing_context: Any, bits: Any) -> Any:
    """Return the fp32 number whose upper half is the given bits: bf16 is fp32 without its lower half."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(word, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(types.uint16), generate


def _attend(
    queries: NDArray[np.float32],
    keys: NDArray[np.uint16],
    values: NDArray[np.uint16],
    layer: int,
    length: int,
    scale: np.float32,
    found: NDArray[np.float32],
) -> None:
    num_heads, head_dim = queries.shape
    heads_per_key = num_heads // keys.shape[1]
    for head in numba.prange(num_heads):
        head_keys, head_values = keys[layer, head // heads_per_key], values[layer, head // heads_per_key]
        query = queries[head]
        weights = np.empty(length, np.float32)
        largest = np.float32(-np.inf)
        for position in range(length):
            key = head_keys[position]
            product = np.float32(0)
            for i in range(head_dim):
                product += query[i] * _widened(key[i])
            weights[position] = product * scale
            largest = max(largest, weights[position])
        total = np.float32(0)
        for position in range(length):
            weights[position] = math.exp(weights[position] - largest)
            total += weights[position]
        sums = np.zeros(head_dim, np.float32)
        for position in range(length):
            value = head_values[position]
            weight = weights[position]
            for i in range(head_dim):
                sums[i] += weight * _widened(value[i])
        for i in range(head_dim):
            found[head, i] = sums[i] / total


def _compile() -> Any:
    # Sums may be reordered, which is what lets them be vectorised; infinities must stay what they are.
    options = {"parallel": True, "nogil": True, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}
    try:
        return numba.njit(_attend, cache=True, **options)
    except RuntimeError:  # there is no folder to keep it in: each start compiles it again
        return numba.njit(_attend, **options)


_attend_compiled = _compile()


def attend_to_bf16(queries: Tensor, keys: Tensor, values: Tensor, layer: int, length: int) -> Tensor:
    """Return what the heads of one position find, shape (num_heads, head_dim), in fp32.

    Queries are fp32 of that shape; keys and values are bf16, contiguous, of shape (num_layers, num_kv_heads, capacity,
    head_dim), of which the first `length` positions of one layer are looked at.
    """
    num_threads = torch.get_num_threads()
    numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))
    found = torch.empty_like(queries)
    scale = np.float32(queries.shape[1] ** -0.5)
    key_bits, value_bits = keys.view(torch.uint16).numpy(), values.view(torch.uint16).numpy()
    _attend_compiled(queries.contiguous().numpy(), key_bits, value_bits, layer, length, scale, found.numpy())
    if torch.get_num_threads() != num_threads:
        # Numba runs on torch's own OpenMP threads, and its first call asks for as many as the machine has.
        torch.set_num_threads(num_threads)
    return found
