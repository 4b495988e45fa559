"""Attention of all positions of a sequence to all of them, in integer arithmetic. It needs a CPU with VNNI.

It goes through the keys in steps and keeps the maximum and the sum of the weights so far, as in FlashAttention (Dao et
al. 2022, algorithm 1). Queries and keys are quantized per position. The weights of a step are quantized to 8 bits
relative to the largest of them, and its values per dimension, as in SageAttention2 (Zhang et al. 2024).
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deployments.inference import vnni
from deployments.inference.jit import kernel, on_torch_threads
from deployments.inference.numba_math import (
    EXACT_ORDER,
    FASTMATH,
    MIN_ABS_MAX,
    exp2,
    float_to_bits,
    quantize_row,
    row_max,
)
from deployments.inference.vnni import KEYS_IN_BLOCK

_QUERIES = 4
"""Queries that share each load of the keys and values."""
_STEP = 128
"""Keys in a step. Fewer are more exact and take longer."""
_DIM_MULTIPLE = 16
"""Dimensions in the largest vector of int32."""
_QMAX = np.float32(127)
_LOG2_WEIGHT_QMAX = np.float32(math.log2(255))
"""Of the largest quantized weight."""

_multiply_queries = vnni.multiply_queries(_QUERIES)
_sum_several_vectors = vnni.sum_values(_QUERIES, vnni.key_blocks_per_pass)
_sum_one_vector = vnni.sum_values(_QUERIES, lambda: 1)


def int8_full_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return softmax(queries @ keys.T / sqrt(head_dim)) @ values for each head.

    Takes and returns fp32 (n, num_heads, head_dim). NaN in a key or value gives any result.
    """
    n, num_heads, head_dim = queries.shape
    padding = -head_dim % _DIM_MULTIPLE
    parts = (functional.pad(part, (0, padding)) if padding else part for part in (queries, keys, values))
    arrays = (part.contiguous().numpy() for part in parts)
    attn_out = torch.empty(n, num_heads, head_dim + padding)
    # The weights are powers of 2.
    softmax_scale = np.float32(math.log2(math.e) / math.sqrt(head_dim))
    _attend(*arrays, softmax_scale, torch.get_num_threads(), attn_out.numpy())
    return attn_out[:, :, :head_dim]


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _pack_keys(keys: Any, packed: Any, scales: Any) -> None:
    """Quantize a head's keys, fp32 (n, dim), as `vnni.multiply_queries` takes them, quads as int32.

    `packed` has shape (num_blocks, num_quads, KEYS_IN_BLOCK); `scales` are those of the keys.
    """
    quantized = np.empty(keys.shape[1], np.int8)
    quads = quantized.view(np.int32)
    for position in range(len(keys)):
        scales[position] = quantize_row(keys[position], _QMAX, quantized)
        block, slot = position // KEYS_IN_BLOCK, position % KEYS_IN_BLOCK
        for quad in range(len(quads)):
            # Adds 128 to each of the four bytes.
            packed[block, quad, slot] = quads[quad] ^ np.int32(-0x7F7F7F80)


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _pack_values(values: Any, packed: Any, scales: Any) -> None:
    """Quantize a head's values in one step, fp32 (n, dim), as `vnni.sum_values` takes them, quads as int32.

    `packed` has shape (num_quads, dim); positions from n on become 0. `scales` are those of the dimensions.
    """
    num_positions, dim = values.shape
    scales[:] = MIN_ABS_MAX
    for position in range(num_positions):
        for i in range(dim):
            scales[i] = max(scales[i], abs(values[position, i]))
    for i in range(dim):
        scales[i] /= _QMAX
    packed[:] = 0
    for position in range(num_positions):
        quads, shift = packed[position // 4], np.int32(8 * (position % 4))
        for i in range(dim):
            quads[i] |= (np.int32(np.rint(values[position, i] / scales[i])) & np.int32(255)) << shift


@numba.njit(fastmath=EXACT_ORDER)  # type: ignore[untyped-decorator]
def _weigh(scores: Any, count: Any, factor: Any, maximum: Any, row: Any, weights: Any) -> Any:
    """Write 255 * 2 ** (factor * (score - maximum)) for each score into `weights`, uint8, and return their sum."""
    total = np.int32(0)
    for i in range(count):
        # Numbers of this size have no bits after the point, so that the lowest ones are the rounded weight.
        rounded = float_to_bits(
            exp2(factor * (scores[i] - maximum) + _LOG2_WEIGHT_QMAX) + np.float32(2**23)
        ) & np.int32(255)
        weights[row, i] = np.uint8(rounded)
        total += rounded
    return total


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _scores(products: Any, row: Any, correction: Any, key_scales: Any, step: Any, count: Any, scores: Any) -> Any:
    """Write a query's scores for keys into `scores`, without the query's own scale, and return the largest."""
    for i in range(count):
        scores[i] = np.float32(products[row, i] - correction) * key_scales[step, i]
    return row_max(scores[:count])


@numba.njit  # type: ignore[untyped-decorator]
def _multiply_step(keys: Any, first_block: Any, queries: Any, products: Any) -> None:
    """Write the products of queries with the keys of a step into `products`, int32 (_QUERIES, _STEP)."""
    num_quads = keys.shape[1]
    block_bytes, blocks_per_pass = 4 * num_quads * KEYS_IN_BLOCK, vnni.key_blocks_per_pass()
    for block in range(0, _STEP // KEYS_IN_BLOCK, blocks_per_pass):
        _multiply_queries(
            vnni.address(keys, (first_block + block) * block_bytes),
            vnni.address(queries, 0),
            vnni.address(products, 4 * block * KEYS_IN_BLOCK),
            num_quads,
            4 * _STEP,
        )


@numba.njit  # type: ignore[untyped-decorator]
def _sum_step(values: Any, step: Any, weights: Any, sums: Any) -> None:
    """Write a step's values, weighted and summed for each query, into `sums`, int32 (_QUERIES, dim)."""
    _, num_quads, dim = values.shape
    dims_per_pass = vnni.key_blocks_per_pass() * vnni.num_lanes()
    first = 0
    while first < dim:
        value_address = vnni.address(values, 4 * (step * num_quads * dim + first))
        weight_address, sum_address = vnni.address(weights, 0), vnni.address(sums, 4 * first)
        if first + dims_per_pass <= dim:
            _sum_several_vectors(value_address, weight_address, sum_address, num_quads, dim, _STEP)
            first += dims_per_pass
        else:
            _sum_one_vector(value_address, weight_address, sum_address, num_quads, dim, _STEP)
            first += vnni.num_lanes()


@on_torch_threads
@kernel(parallel=True, needs_vnni=True)
def _attend(
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    softmax_scale: np.float32,
    num_threads: int,
    attn_out: NDArray[np.float32],
) -> None:
    """Write the attention into `attn_out`, of the same shape as the queries, keys and values: (n, num_heads, dim).

    `dim` is a multiple of _DIM_MULTIPLE, and `softmax_scale` includes log2(e). Threads split the heads.
    """
    num_positions, num_heads, dim = queries.shape
    num_steps = (num_positions + _STEP - 1) // _STEP
    num_workers = min(num_threads, num_heads)
    for worker in numba.prange(num_workers):
        packed_keys = np.zeros((num_steps * _STEP // KEYS_IN_BLOCK, dim // 4, KEYS_IN_BLOCK), np.int32)
        key_scales = np.empty((num_steps, _STEP), np.float32)
        packed_values = np.empty((num_steps, _STEP // 4, dim), np.int32)
        value_scales = np.empty((num_steps, dim), np.float32)
        quantized = np.zeros((_QUERIES, dim), np.int8)
        products, scores = np.empty((_QUERIES, _STEP), np.int32), np.empty(_STEP, np.float32)
        weights = np.zeros((_QUERIES, _STEP), np.uint8)
        sums, result = np.empty((_QUERIES, dim), np.int32), np.empty((_QUERIES, dim), np.float32)
        factors, corrections = np.empty(_QUERIES, np.float32), np.empty(_QUERIES, np.int32)
        maxima, totals = np.empty(_QUERIES, np.float32), np.empty(_QUERIES, np.float32)
        step_factors = np.empty(_QUERIES, np.float32)
        for head in range(worker * num_heads // num_workers, (worker + 1) * num_heads // num_workers):
            _pack_keys(keys[:, head], packed_keys, key_scales.reshape(-1))
            for step in range(num_steps):
                step_values = values[step * _STEP : (step + 1) * _STEP, head]
                _pack_values(step_values, packed_values[step], value_scales[step])
            for first in range(0, num_positions, _QUERIES):
                num_queries = min(_QUERIES, num_positions - first)
                for i in range(num_queries):
                    factors[i] = quantize_row(queries[first + i, head], _QMAX, quantized[i]) * softmax_scale
                    correction = np.int32(0)
                    for k in range(dim):
                        correction += np.int32(128) * np.int32(quantized[i, k])
                    corrections[i] = correction
                maxima[:], totals[:], result[:] = np.float32(-np.inf), np.float32(0), np.float32(0)
                for step in range(num_steps):
                    start = step * _STEP
                    count = min(_STEP, num_positions - start)
                    _multiply_step(packed_keys, start // KEYS_IN_BLOCK, quantized, products)
                    if count < _STEP:
                        weights[:, count:] = 0
                    for i in range(num_queries):
                        maximum = _scores(products, i, corrections[i], key_scales, step, count, scores)
                        total = _weigh(scores, count, factors[i], maximum, i, weights)
                        if maximum > maxima[i]:
                            decay = exp2(factors[i] * (maxima[i] - maximum))
                            for k in range(dim):
                                result[i, k] *= decay
                            totals[i] *= decay
                            maxima[i] = maximum
                        factor = exp2(factors[i] * (maximum - maxima[i]))
                        totals[i] += factor * np.float32(total)
                        step_factors[i] = factor
                    _sum_step(packed_values, step, weights, sums)
                    for i in range(num_queries):
                        for k in range(dim):
                            result[i, k] += np.float32(sums[i, k]) * (step_factors[i] * value_scales[step, k])
                for i in range(num_queries):
                    for k in range(dim):
                        attn_out[first + i, head, k] = result[i, k] / totals[i]
