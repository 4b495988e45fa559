"""Attention to an int8 KV cache in integer arithmetic: one new position of each sequence, one job per KV head."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference import vnni
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.jit import kernel, on_torch_threads
from deployments.inference.numba_math import FASTMATH, exp, quantize_row, row_max
from deployments.inference.vnni import KEYS_IN_BLOCK

_QMAX = np.float32(127)
_KEY_ZERO_POINT = np.int32(128)
"""The unsigned byte that stands for zero in a stored key."""
_WEIGHT_QMAX = np.float32(65535)
_KEYS, _KEY_SCALES, _VALUES, _VALUE_SCALES, _CAPACITY, _LENGTH = range(6)
"""Columns of a cache table."""
_VALUE_VECTORS_PER_PASS = 4
"""The values, and their sums by the high and the low bytes of the weights, fit into the registers."""


def quantize_keys_and_values(keys: Tensor, values: Tensor, stored: Sequence[Tensor], start: int) -> None:
    """Quantize keys and values, fp32 (n, num_kv_heads, head_dim), into one layer's positions from `start` on.

    `stored` are the layer's parts of a cache: keys, uint8 with zero point 128, (num_kv_heads, capacity / KEYS_IN_BLOCK,
    num_fours, KEYS_IN_BLOCK, 4), where num_fours is head_dim / 4 rounded up; their fp32 scales, (num_kv_heads,
    capacity); values, int8, (num_kv_heads, capacity / 4, head_dim, 4); and their scales. Raises ValueError when the
    positions exceed the capacity.
    """
    capacity = stored[1].shape[-1]
    if start + len(keys) > capacity:
        raise ValueError(f"{len(keys)} positions from {start} on do not fit into {capacity}.")
    # Contiguous, because numba compiles a kernel again for every other memory layout.
    arrays = (keys.contiguous(), values.contiguous(), *stored)
    _quantize_keys_and_values(*(part.numpy() for part in arrays), start)


def append_and_attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rotation: tuple[Tensor, Tensor] | None,
    cache_table: NDArray[np.int64],
    layer: int,
) -> Tensor:
    """Append one position to each sequence and return the attention of its queries to all positions up to itself.

    Queries and the result have shape (n, num_heads, head_dim), keys and values (n, num_kv_heads, head_dim), all fp32.
    Queries and keys are rotated by `rotation`, the cosines and sines of the new positions, shape (n, 1, num_pairs);
    None leaves them as they are. With keys and values of shape (0, num_kv_heads, head_dim) nothing is appended, and the
    queries attend to what the cache holds.

    `cache_table`, shape (n, 6), has a row for each sequence: the addresses of its stored keys, their scales, its values
    and their scales (all layers, each layer as in `quantize_keys_and_values`), its capacity and its length.

    Queries are quantized to 8 bits, attention weights to 16.
    """
    attn_out = torch.empty(queries.shape)
    cosines, sines = rotation or (queries.new_empty(len(queries), 1, 0),) * 2
    # Contiguous, because numba compiles a kernel again for every other memory layout.
    arrays = (part.contiguous().numpy() for part in (queries, keys, values, cosines, sines))
    _append_and_attend(*arrays, cache_table, layer, torch.get_num_threads(), attn_out.numpy())
    return attn_out


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _store_key(row: Any, quantized: Any, keys: Any, position: Any) -> Any:
    """Quantize a key, write it into its head's `keys` (blocks, num_fours, KEYS_IN_BLOCK, 4), and return its scale."""
    scale = quantize_row(row, _QMAX, quantized)
    block, slot = position // KEYS_IN_BLOCK, position % KEYS_IN_BLOCK
    for i in range(len(row)):
        keys[block, i // 4, slot, i % 4] = np.uint8(np.int32(quantized[i]) + _KEY_ZERO_POINT)
    return scale


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _store_value(row: Any, quantized: Any, values: Any, position: Any) -> Any:
    """Quantize a value, write it into its head's `values` (capacity / 4, head_dim, 4), and return its scale."""
    scale = quantize_row(row, _QMAX, quantized)
    for i in range(len(row)):
        values[position // 4, i, position % 4] = quantized[i]
    return scale


@on_torch_threads
@kernel(parallel=True)
def _quantize_keys_and_values(
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    stored_keys: NDArray[np.uint8],
    key_scales: NDArray[np.float32],
    stored_values: NDArray[np.int8],
    value_scales: NDArray[np.float32],
    start: int,
) -> None:
    for head in numba.prange(keys.shape[1]):
        quantized = np.empty(keys.shape[2], np.int8)
        for i in range(len(keys)):
            key_scales[head, start + i] = _store_key(keys[i, head], quantized, stored_keys[head], start + i)
            value_scales[head, start + i] = _store_value(values[i, head], quantized, stored_values[head], start + i)


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def portable_key_products(keys: Any, query: Any, products: Any, values: Any) -> None:
    """Write the dot products of a query, int8 (4 * num_fours,), with keys (blocks, num_fours, KEYS_IN_BLOCK, 4)."""
    for block in range(len(keys)):
        block_products = products[block * KEYS_IN_BLOCK : (block + 1) * KEYS_IN_BLOCK]
        block_products[:] = 0
        for four in range(keys.shape[1]):
            a, b = np.int32(query[4 * four]), np.int32(query[4 * four + 1])
            c, d = np.int32(query[4 * four + 2]), np.int32(query[4 * four + 3])
            for i in range(KEYS_IN_BLOCK):
                key = keys[block, four, i]
                block_products[i] += (a * np.int32(key[0]) + b * np.int32(key[1])) + (
                    c * np.int32(key[2]) + d * np.int32(key[3])
                )


_multiply_several_blocks = vnni.multiply_key_blocks(vnni.key_blocks_per_pass)
_multiply_one_block = vnni.multiply_key_blocks(lambda: 1)


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def vnni_key_products(keys: Any, query: Any, products: Any, values: Any) -> None:
    """Do what `portable_key_products` does, and prefetch the head's values, which are read next."""
    query_address, num_fours = vnni.address(query, 0), keys.shape[1]
    block_bytes = num_fours * KEYS_IN_BLOCK * 4
    block = 0
    while block < len(keys):
        key_address = vnni.address(keys[block], 0)
        product_address = vnni.address(products[block * KEYS_IN_BLOCK :], 0)
        prefetched = vnni.address(values, block * block_bytes)
        if block + vnni.key_blocks_per_pass() <= len(keys):
            _multiply_several_blocks(key_address, query_address, product_address, prefetched, num_fours)
            block += vnni.key_blocks_per_pass()
        else:
            _multiply_one_block(key_address, query_address, product_address, prefetched, num_fours)
            block += 1


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def portable_weighted_values(values: Any, high: Any, low: Any, sums: Any, next_keys: Any) -> None:
    """Sum values (num_fours, head_dim, 4) weighted by high bytes and by low bytes into int32 sums, (2, head_dim)."""
    sums[:] = 0
    for four in range(len(values)):
        for i in range(values.shape[1]):
            for k in range(4):
                value = np.int32(values[four, i, k])
                sums[0, i] += np.int32(high[4 * four + k]) * value
                sums[1, i] += np.int32(low[4 * four + k]) * value


_add_several_vectors, _add_one_vector = (
    vnni.add_weighted_values(_VALUE_VECTORS_PER_PASS),
    vnni.add_weighted_values(1),
)


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def vnni_weighted_values(values: Any, high: Any, low: Any, sums: Any, next_keys: Any) -> None:
    """Do what `portable_weighted_values` does, and prefetch the next head's keys."""
    num_fours, head_dim, _ = values.shape
    high_address, low_address = vnni.address(high, 0), vnni.address(low, 0)
    first = 0
    while first + vnni.num_lanes() <= head_dim:
        high_sums, low_sums = vnni.address(sums[0, first:], 0), vnni.address(sums[1, first:], 0)
        value_address, prefetched = vnni.address(values[0, first:], 0), vnni.address(next_keys, 4 * first)
        if first + _VALUE_VECTORS_PER_PASS * vnni.num_lanes() <= head_dim:
            _add_several_vectors(
                value_address, high_address, low_address, high_sums, low_sums, prefetched, num_fours, head_dim
            )
            first += _VALUE_VECTORS_PER_PASS * vnni.num_lanes()
        else:
            _add_one_vector(
                value_address, high_address, low_address, high_sums, low_sums, prefetched, num_fours, head_dim
            )
            first += vnni.num_lanes()
    if first < head_dim:
        portable_weighted_values(values[:, first:], high, low, sums[:, first:], next_keys)


def _key_products(keys: Any, query: Any, products: Any, values: Any) -> None:
    """Call `vnni_key_products` or `portable_key_products`, chosen while a kernel is compiled."""


@overload(_key_products, jit_options={"fastmath": FASTMATH})  # type: ignore[untyped-decorator]
def _choose_key_products(keys: Any, query: Any, products: Any, values: Any) -> Any:
    return (vnni_key_products if local_vnni_vector_bytes() else portable_key_products).py_func


def _weighted_values(values: Any, high: Any, low: Any, sums: Any, next_keys: Any) -> None:
    """Call `vnni_weighted_values` or `portable_weighted_values`, chosen while a kernel is compiled."""


@overload(_weighted_values, jit_options={"fastmath": FASTMATH})  # type: ignore[untyped-decorator]
def _choose_weighted_values(values: Any, high: Any, low: Any, sums: Any, next_keys: Any) -> Any:
    return (vnni_weighted_values if local_vnni_vector_bytes() else portable_weighted_values).py_func


def _pointer_to(element: Any) -> Any:
    """Return an intrinsic that turns an address into a pointer to elements of that type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    def pointer(typing_context: Any, address: Any) -> Any:
        return types.CPointer(element)(types.int64), generate  # type: ignore[attr-defined]

    return intrinsic(pointer)


_uint8_pointer, _int8_pointer, _float32_pointer = (
    _pointer_to(element) for element in (types.uint8, types.int8, types.float32)
)


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _rotate(row: Any, cosines: Any, sines: Any) -> None:
    """Do what `rotary.rotate` does, in place."""
    num_pairs = len(cosines)
    for i in range(num_pairs):
        first, second = row[i], row[num_pairs + i]
        row[i] = first * cosines[i] - second * sines[i]
        row[num_pairs + i] = second * cosines[i] + first * sines[i]


@kernel(parallel=True)
def append_and_attend_kernel(
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    cosines: NDArray[np.float32],
    sines: NDArray[np.float32],
    cache_table: NDArray[np.int64],
    layer: int,
    num_threads: int,
    attn_out: NDArray[np.float32],
) -> None:
    """Do what `append_and_attend` does, writing the result into `attn_out`; for kernels.

    Threads split the jobs; a job is one KV head of one sequence.
    """
    num_sequences, num_heads, head_dim = queries.shape
    num_kv_heads = keys.shape[1]
    heads_per_key = num_heads // num_kv_heads
    num_fours = (head_dim + 3) // 4
    softmax_scale = np.float32(1 / np.sqrt(head_dim))
    num_jobs = num_sequences * num_kv_heads
    num_workers = min(num_threads, num_jobs)
    max_positions = 0
    for sequence in range(num_sequences):
        max_positions = max(max_positions, cache_table[sequence, _LENGTH] + KEYS_IN_BLOCK)
    # Buffers are allocated once per thread, not per job: malloc makes threads wait for each other.
    for worker in numba.prange(num_workers):
        row = np.empty(head_dim, np.float32)
        quantized_row, quantized_query = np.empty(head_dim, np.int8), np.zeros(4 * num_fours, np.int8)
        all_products, all_weights = np.empty(max_positions, np.int32), np.empty(max_positions, np.float32)
        all_bytes = np.empty((2, max_positions), np.uint8)
        sums = np.empty((2, head_dim), np.int32)
        for job in range(worker * num_jobs // num_workers, (worker + 1) * num_jobs // num_workers):
            sequence, kv_head = job // num_kv_heads, job % num_kv_heads
            capacity, length = cache_table[sequence, _CAPACITY], cache_table[sequence, _LENGTH]
            offset = (layer * num_kv_heads + kv_head) * capacity
            head_keys = numba.carray(
                _uint8_pointer(cache_table[sequence, _KEYS] + offset * 4 * num_fours),
                (capacity // KEYS_IN_BLOCK, num_fours, KEYS_IN_BLOCK, 4),
            )
            head_values = numba.carray(
                _int8_pointer(cache_table[sequence, _VALUES] + offset * head_dim), (capacity // 4, head_dim, 4)
            )
            key_scales = numba.carray(_float32_pointer(cache_table[sequence, _KEY_SCALES] + 4 * offset), (capacity,))
            value_scales = numba.carray(
                _float32_pointer(cache_table[sequence, _VALUE_SCALES] + 4 * offset), (capacity,)
            )

            if len(keys) > 0:
                row[:] = keys[sequence, kv_head]
                _rotate(row, cosines[sequence, 0], sines[sequence, 0])
                key_scales[length] = _store_key(row, quantized_row, head_keys, length)
                row[:] = values[sequence, kv_head]
                value_scales[length] = _store_value(row, quantized_row, head_values, length)
                length += 1

            num_blocks = (length + KEYS_IN_BLOCK - 1) // KEYS_IN_BLOCK
            end = num_blocks * KEYS_IN_BLOCK
            products, weights = all_products[:end], all_weights[:length]
            high, low = all_bytes[0, :end], all_bytes[1, :end]
            high[length:] = 0
            low[length:] = 0
            for head in range(kv_head * heads_per_key, (kv_head + 1) * heads_per_key):
                row[:] = queries[sequence, head]
                _rotate(row, cosines[sequence, 0], sines[sequence, 0])
                factor = quantize_row(row, _QMAX, quantized_query[:head_dim]) * softmax_scale
                zero_point_correction = np.int32(0)
                for i in range(head_dim):
                    zero_point_correction += _KEY_ZERO_POINT * np.int32(quantized_query[i])
                _key_products(head_keys[:num_blocks], quantized_query, products, head_values)
                for position in range(length):
                    product = np.float32(products[position] - zero_point_correction)
                    weights[position] = product * (factor * key_scales[position])
                max_score = row_max(weights)
                total = np.float32(0)
                for position in range(length):
                    weight = exp(weights[position] - max_score)
                    total += weight
                    weights[position] = weight * value_scales[position]
                max_weight = row_max(weights)
                for position in range(length):
                    quantized = np.int32(weights[position] * (_WEIGHT_QMAX / max_weight) + np.float32(0.5))
                    high[position], low[position] = np.uint8(quantized >> 8), np.uint8(quantized & 255)
                _weighted_values(head_values[: (length + 3) // 4], high, low, sums, head_keys[-1])
                for i in range(head_dim):
                    weighted_sum = np.float32(256) * np.float32(sums[0, i]) + np.float32(sums[1, i])
                    attn_out[sequence, head, i] = weighted_sum * (max_weight / (_WEIGHT_QMAX * total))


_append_and_attend = on_torch_threads(append_and_attend_kernel)
