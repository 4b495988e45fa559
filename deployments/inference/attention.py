"""Attention of new positions to keys and values that are kept in 8 bits, in integer arithmetic."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference import vnni
from deployments.inference.compiled import FASTMATH, compiled, exp, greatest, on_torch_threads, round_row
from deployments.inference.vnni import KEYS_IN_BLOCK

_LARGEST = np.float32(127)
_ZERO = np.int32(128)
"""What stands for zero among the unsigned bytes of keys."""
_LARGEST_WEIGHT = np.float32(65535)
_KEYS, _KEY_SCALES, _VALUES, _VALUE_SCALES, _CAPACITY, _LENGTH = range(6)
"""What `places` tells of a sequence, by column."""
_BLOCKS_AT_ONCE = vnni.LANES // 4
"""Of keys: enough sums for the processor not to wait for one of them."""
_VECTORS_AT_ONCE = 4
"""Of values: their sums, twice, and what these are made of fit into the registers."""


def round_keys_and_values(keys: Tensor, values: Tensor, stored: Sequence[Tensor], start: int) -> None:
    """Write keys and values, fp32 of shape (n, num_kv_heads, head_dim), as one layer's positions from `start` on.

    `stored` is what they are written into: keys in unsigned bytes, 128 standing for zero, (num_kv_heads,
    capacity / KEYS_IN_BLOCK, num_fours, KEYS_IN_BLOCK, 4) for head_dim <= 4 * num_fours, and their fp32 scales
    (num_kv_heads, capacity); values in signed bytes (num_kv_heads, capacity / 4, head_dim, 4), and their scales.
    """
    capacity = stored[1].shape[-1]
    if start + len(keys) > capacity:
        raise ValueError(f"{len(keys)} positions from {start} on do not fit into {capacity}.")
    # One layout for all callers, or the loop would be compiled for each.
    given = (keys.contiguous(), values.contiguous(), *stored)
    _round_keys_and_values(*(part.numpy() for part in given), start)


def append_and_attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rotation: tuple[Tensor, Tensor] | None,
    places: NDArray[np.int64],
    layer: int,
) -> Tensor:
    """Rotate and write one position of each sequence, and return what it finds up to itself, (n, num_heads, head_dim).

    Queries, keys and values are fp32; `rotation` are their positions' cosines and sines, shape (n, 1, num_pairs);
    `places`, shape (n, 6), are the addresses of each sequence's stored keys, their scales, values and theirs (all
    layers, contiguous, each as `round_keys_and_values` takes them), its capacity and its length. Without keys and
    values, shape (0, num_kv_heads, head_dim), nothing is written and the queries find what is there.

    Queries are rounded to 8 bits, and what each position counts to 16.
    """
    found = torch.empty(queries.shape)
    cosines, sines = rotation or (queries.new_empty(len(queries), 1, 0),) * 2
    # One layout for all callers, or the loop would be compiled for each.
    given = (part.contiguous().numpy() for part in (queries, keys, values, cosines, sines))
    _append_and_attend(*given, places, layer, torch.get_num_threads(), found.numpy())
    return found


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _store_key(row: Any, rounded: Any, keys: Any, position: Any) -> Any:
    """Round a key, write it into its head's `keys` (blocks, fours, KEYS_IN_BLOCK, 4), and return its scale."""
    scale = round_row(row, _LARGEST, rounded)
    block, place = position // KEYS_IN_BLOCK, position % KEYS_IN_BLOCK
    for i in range(len(row)):
        keys[block, i // 4, place, i % 4] = np.uint8(np.int32(rounded[i]) + _ZERO)
    return scale


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _store_value(row: Any, rounded: Any, values: Any, position: Any) -> Any:
    """Round a value, write it into its head's `values` (fours, head_dim, 4), and return its scale."""
    scale = round_row(row, _LARGEST, rounded)
    for i in range(len(row)):
        values[position // 4, i, position % 4] = rounded[i]
    return scale


@on_torch_threads
@compiled(parallel=True)
def _round_keys_and_values(
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    stored_keys: NDArray[np.uint8],
    key_scales: NDArray[np.float32],
    stored_values: NDArray[np.int8],
    value_scales: NDArray[np.float32],
    start: int,
) -> None:
    for head in numba.prange(keys.shape[1]):
        rounded = np.empty(keys.shape[2], np.int8)
        for i in range(len(keys)):
            key_scales[head, start + i] = _store_key(keys[i, head], rounded, stored_keys[head], start + i)
            value_scales[head, start + i] = _store_value(values[i, head], rounded, stored_values[head], start + i)


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def plain_key_products(keys: Any, query: Any, sums: Any, values: Any) -> None:
    """Write into `sums` the products of a query, int8 (4 * fours,), with keys (blocks, fours, KEYS_IN_BLOCK, 4)."""
    for block in range(len(keys)):
        of_block = sums[block * KEYS_IN_BLOCK : (block + 1) * KEYS_IN_BLOCK]
        of_block[:] = 0
        for four in range(keys.shape[1]):
            a, b = np.int32(query[4 * four]), np.int32(query[4 * four + 1])
            c, d = np.int32(query[4 * four + 2]), np.int32(query[4 * four + 3])
            for i in range(KEYS_IN_BLOCK):
                key = keys[block, four, i]
                of_block[i] += (a * np.int32(key[0]) + b * np.int32(key[1])) + (
                    c * np.int32(key[2]) + d * np.int32(key[3])
                )


_products_of_some, _products_of_one = vnni.key_products(_BLOCKS_AT_ONCE), vnni.key_products(1)


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def vnni_key_products(keys: Any, query: Any, sums: Any, values: Any) -> None:
    """Do what `plain_key_products` does, and ask memory for the values meanwhile."""
    asked, num_fours = vnni.address(query, 0), keys.shape[1]
    bytes_of_block = num_fours * KEYS_IN_BLOCK * 4
    block = 0
    while block < len(keys):
        its_keys, its_sums = vnni.address(keys[block], 0), vnni.address(sums[block * KEYS_IN_BLOCK :], 0)
        next_bytes = vnni.address(values, block * bytes_of_block)
        if block + _BLOCKS_AT_ONCE <= len(keys):
            _products_of_some(its_keys, asked, its_sums, next_bytes, num_fours)
            block += _BLOCKS_AT_ONCE
        else:
            _products_of_one(its_keys, asked, its_sums, next_bytes, num_fours)
            block += 1


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def plain_weighted_values(values: Any, high: Any, low: Any, sums: Any, next_keys: Any) -> None:
    """Write into `sums`, int32 (2, head_dim), values (fours, head_dim, 4) times their weights' high and low bytes."""
    sums[:] = 0
    for four in range(len(values)):
        for i in range(values.shape[1]):
            for k in range(4):
                value = np.int32(values[four, i, k])
                sums[0, i] += np.int32(high[4 * four + k]) * value
                sums[1, i] += np.int32(low[4 * four + k]) * value


_values_of_some, _values_of_one = vnni.weighted_values(_VECTORS_AT_ONCE), vnni.weighted_values(1)


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def vnni_weighted_values(values: Any, high: Any, low: Any, sums: Any, next_keys: Any) -> None:
    """Do what `plain_weighted_values` does, and ask memory for the next head's keys meanwhile."""
    num_fours, head_dim, _ = values.shape
    its_high, its_low = vnni.address(high, 0), vnni.address(low, 0)
    first = 0
    while first + vnni.LANES <= head_dim:
        of_high, of_low = vnni.address(sums[0, first:], 0), vnni.address(sums[1, first:], 0)
        here, beyond = vnni.address(values[0, first:], 0), vnni.address(next_keys, 4 * first)
        if first + _VECTORS_AT_ONCE * vnni.LANES <= head_dim:
            _values_of_some(here, its_high, its_low, of_high, of_low, beyond, num_fours, head_dim)
            first += _VECTORS_AT_ONCE * vnni.LANES
        else:
            _values_of_one(here, its_high, its_low, of_high, of_low, beyond, num_fours, head_dim)
            first += vnni.LANES
    if first < head_dim:
        plain_weighted_values(values[:, first:], high, low, sums[:, first:], next_keys)


_key_products = vnni_key_products if vnni.IS_THERE else plain_key_products
_weighted_values = vnni_weighted_values if vnni.IS_THERE else plain_weighted_values


def _pointer(pointed: Any) -> Any:
    """Return an intrinsic that makes an address a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    def pointer(typing_context: Any, address: Any) -> Any:
        return types.CPointer(pointed)(types.int64), generate  # type: ignore[attr-defined]

    return intrinsic(pointer)


_unsigned_at, _signed_at, _floats_at = _pointer(types.uint8), _pointer(types.int8), _pointer(types.float32)


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _rotate(row: Any, cosines: Any, sines: Any) -> None:
    """Do what `rotary.rotate` does."""
    num_pairs = len(cosines)
    for i in range(num_pairs):
        first, second = row[i], row[num_pairs + i]
        row[i] = first * cosines[i] - second * sines[i]
        row[num_pairs + i] = second * cosines[i] + first * sines[i]


@compiled(parallel=True)
def append_and_attend_few(
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    cosines: NDArray[np.float32],
    sines: NDArray[np.float32],
    places: NDArray[np.int64],
    layer: int,
    num_threads: int,
    found: NDArray[np.float32],
) -> None:
    """Do what `append_and_attend` does, with what it found written into `found`; for compiled functions."""
    num_sequences, num_heads, head_dim = queries.shape
    num_kv_heads = keys.shape[1]
    heads_per_key = num_heads // num_kv_heads
    num_fours = (head_dim + 3) // 4
    scale = np.float32(1 / np.sqrt(head_dim))
    num_jobs = num_sequences * num_kv_heads
    num_workers = min(num_threads, num_jobs)
    most = 0
    for sequence in range(num_sequences):
        most = max(most, places[sequence, _LENGTH] + KEYS_IN_BLOCK)
    # What a job works with is allocated once for all jobs of a thread: threads wait for each other in malloc.
    for worker in numba.prange(num_workers):
        row = np.empty(head_dim, np.float32)
        eight_bits, rounded = np.empty(head_dim, np.int8), np.zeros(4 * num_fours, np.int8)
        all_products, all_weights = np.empty(most, np.int32), np.empty(most, np.float32)
        all_bytes = np.empty((2, most), np.uint8)
        sums = np.empty((2, head_dim), np.int32)
        for job in range(worker * num_jobs // num_workers, (worker + 1) * num_jobs // num_workers):
            sequence, kv_head = job // num_kv_heads, job % num_kv_heads
            capacity, count = places[sequence, _CAPACITY], places[sequence, _LENGTH]
            offset = (layer * num_kv_heads + kv_head) * capacity
            its_keys = numba.carray(
                _unsigned_at(places[sequence, _KEYS] + offset * 4 * num_fours),
                (capacity // KEYS_IN_BLOCK, num_fours, KEYS_IN_BLOCK, 4),
            )
            its_values = numba.carray(
                _signed_at(places[sequence, _VALUES] + offset * head_dim), (capacity // 4, head_dim, 4)
            )
            key_scales = numba.carray(_floats_at(places[sequence, _KEY_SCALES] + 4 * offset), (capacity,))
            value_scales = numba.carray(_floats_at(places[sequence, _VALUE_SCALES] + 4 * offset), (capacity,))

            if len(keys) > 0:
                row[:] = keys[sequence, kv_head]
                _rotate(row, cosines[sequence, 0], sines[sequence, 0])
                key_scales[count] = _store_key(row, eight_bits, its_keys, count)
                row[:] = values[sequence, kv_head]
                value_scales[count] = _store_value(row, eight_bits, its_values, count)
                count += 1

            num_blocks = (count + KEYS_IN_BLOCK - 1) // KEYS_IN_BLOCK
            end = num_blocks * KEYS_IN_BLOCK
            products, weights = all_products[:end], all_weights[:count]
            high, low = all_bytes[0, :end], all_bytes[1, :end]
            high[count:] = 0
            low[count:] = 0
            for head in range(kv_head * heads_per_key, (kv_head + 1) * heads_per_key):
                row[:] = queries[sequence, head]
                _rotate(row, cosines[sequence, 0], sines[sequence, 0])
                factor = round_row(row, _LARGEST, rounded[:head_dim]) * scale
                excess = np.int32(0)
                for i in range(head_dim):
                    excess += _ZERO * np.int32(rounded[i])
                _key_products(its_keys[:num_blocks], rounded, products, its_values)
                for position in range(count):
                    weights[position] = np.float32(products[position] - excess) * (factor * key_scales[position])
                highest = greatest(weights)
                total = np.float32(0)
                for position in range(count):
                    weight = exp(weights[position] - highest)
                    total += weight
                    weights[position] = weight * value_scales[position]
                largest = greatest(weights)
                for position in range(count):
                    whole = np.int32(weights[position] * (_LARGEST_WEIGHT / largest) + np.float32(0.5))
                    high[position], low[position] = np.uint8(whole >> 8), np.uint8(whole & 255)
                _weighted_values(its_values[: (count + 3) // 4], high, low, sums, its_keys[-1])
                for i in range(head_dim):
                    in_all = np.float32(256) * np.float32(sums[0, i]) + np.float32(sums[1, i])
                    found[sequence, head, i] = in_all * (largest / (_LARGEST_WEIGHT * total))


_append_and_attend = on_torch_threads(append_and_attend_few)
