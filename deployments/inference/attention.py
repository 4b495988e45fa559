"""Attention of new positions to keys and values that are kept in 8 bits, without widening them in memory."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference.compiled import FASTMATH, build_prefetch, compiled, exp, on_torch_threads, round_row

_LARGEST = np.float32(127)
_CACHE_LINE = 64
_KEYS, _KEY_SCALES, _VALUES, _VALUE_SCALES, _CAPACITY, _LENGTH = range(6)
"""What `places` tells of a sequence, by column."""


def round_keys_and_values(keys: Tensor, values: Tensor, stored: Sequence[Tensor], start: int) -> None:
    """Write keys and values, fp32 of shape (n, num_kv_heads, head_dim), as one layer's positions from `start` on.

    `stored` is what they are written into: int8 keys (num_kv_heads, head_dim, capacity) and their fp32 scales
    (num_kv_heads, capacity), int8 values (num_kv_heads, capacity, head_dim) and their scales.
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
    places: Sequence[tuple[int, ...]],
    layer: int,
) -> Tensor:
    """Rotate and write one position of each sequence, and return what it finds up to itself, (n, num_heads, head_dim).

    Queries, keys and values are fp32; `rotation` are their positions' cosines and sines, shape (n, 1, num_pairs);
    `places` are the addresses of each sequence's stored keys, their scales, values and theirs (all layers, contiguous,
    each as `round_keys_and_values` takes them), its capacity and its length. Without keys and values, shape (0,
    num_kv_heads, head_dim), nothing is written and the queries find what is there.
    """
    found = torch.empty(queries.shape)
    of_sequences = np.array(places, np.int64)
    if len(keys) and (of_sequences[:, _LENGTH] >= of_sequences[:, _CAPACITY]).any():
        raise ValueError("A sequence has no room for another position.")
    cosines, sines = rotation or (queries.new_empty(len(queries), 1, 0),) * 2
    # One layout for all callers, or the loop would be compiled for each.
    given = (part.contiguous().numpy() for part in (queries, keys, values, cosines, sines))
    _append_and_attend(*given, of_sequences, layer, found.numpy())
    return found


@on_torch_threads
@compiled(parallel=True)
def _round_keys_and_values(
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    stored_keys: NDArray[np.int8],
    key_scales: NDArray[np.float32],
    stored_values: NDArray[np.int8],
    value_scales: NDArray[np.float32],
    start: int,
) -> None:
    num_positions, num_heads, head_dim = keys.shape
    for head in numba.prange(num_heads):
        rounded, row = np.empty(head_dim, np.int8), np.empty(head_dim, np.float32)
        for i in range(num_positions):
            position = start + i
            row[:] = keys[i, head]
            key_scales[head, position] = round_row(row, _LARGEST, rounded)
            stored_keys[head, :, position] = rounded
            row[:] = values[i, head]
            value_scales[head, position] = round_row(row, _LARGEST, stored_values[head, position])


def _pointer(pointed: Any) -> Any:
    """Return an intrinsic that makes an address a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    def pointer(typing_context: Any, address: Any) -> Any:
        return types.CPointer(pointed)(types.int64), generate  # type: ignore[attr-defined]

    return intrinsic(pointer)


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch_line(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        build_prefetch(builder, builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return types.none(types.int64), generate


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _prefetch(address: Any, num_bytes: Any) -> Any:
    for start in range(0, num_bytes, _CACHE_LINE):
        _prefetch_line(address + start)


_bytes_at, _floats_at = _pointer(types.int8), _pointer(types.float32)


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _rotate(row: Any, cosines: Any, sines: Any) -> None:
    """Do what `rotary.rotate` does."""
    num_pairs = len(cosines)
    for i in range(num_pairs):
        first, second = row[i], row[num_pairs + i]
        row[i] = first * cosines[i] - second * sines[i]
        row[num_pairs + i] = second * cosines[i] + first * sines[i]


@on_torch_threads
@compiled(parallel=True)
def _append_and_attend(
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    cosines: NDArray[np.float32],
    sines: NDArray[np.float32],
    places: NDArray[np.int64],
    layer: int,
    found: NDArray[np.float32],
) -> None:
    num_sequences, num_heads, head_dim = queries.shape
    num_kv_heads = keys.shape[1]
    heads_per_key = num_heads // num_kv_heads
    in_fours = head_dim // 4 * 4
    scale = np.float32(1 / np.sqrt(head_dim))
    for job in numba.prange(num_sequences * num_kv_heads):
        sequence, kv_head = job // num_kv_heads, job % num_kv_heads
        capacity, length = places[sequence, _CAPACITY], places[sequence, _LENGTH]
        offset = (layer * num_kv_heads + kv_head) * capacity
        all_bytes, all_scales = (offset + capacity) * head_dim, offset + capacity
        its_keys = numba.carray(_bytes_at(places[sequence, _KEYS]), all_bytes)[offset * head_dim :]
        key_scales = numba.carray(_floats_at(places[sequence, _KEY_SCALES]), all_scales)[offset:]
        its_values = numba.carray(_bytes_at(places[sequence, _VALUES]), all_bytes)[offset * head_dim :]
        value_scales = numba.carray(_floats_at(places[sequence, _VALUE_SCALES]), all_scales)[offset:]

        # Memory is asked for the values while keys are multiplied, and for the next head's keys while values are.
        values_address = places[sequence, _VALUES] + offset * head_dim
        next_keys_address = places[sequence, _KEYS] + (offset + capacity) * head_dim

        count = length
        row = np.empty(head_dim, np.float32)
        if len(keys) > 0:
            rounded = np.empty(head_dim, np.int8)
            row[:] = keys[sequence, kv_head]
            _rotate(row, cosines[sequence, 0], sines[sequence, 0])
            key_scales[length] = round_row(row, _LARGEST, rounded)
            for i in range(head_dim):
                its_keys[i * capacity + length] = rounded[i]
            row[:] = values[sequence, kv_head]
            value_scales[length] = round_row(row, _LARGEST, its_values[length * head_dim : (length + 1) * head_dim])
            count += 1
        for head in range(kv_head * heads_per_key, (kv_head + 1) * heads_per_key):
            row[:] = queries[sequence, head]
            _rotate(row, cosines[sequence, 0], sines[sequence, 0])
            weights = np.zeros(count, np.float32)
            # Four at a time, so that the sums are fetched and stored a quarter as often.
            for i in range(0, in_fours, 4):
                _prefetch(values_address + i * count, 4 * count)
                a, b, c, d = row[i], row[i + 1], row[i + 2], row[i + 3]
                of_a = its_keys[i * capacity : i * capacity + count]
                of_b = its_keys[(i + 1) * capacity : (i + 1) * capacity + count]
                of_c = its_keys[(i + 2) * capacity : (i + 2) * capacity + count]
                of_d = its_keys[(i + 3) * capacity : (i + 3) * capacity + count]
                for position in range(count):
                    weights[position] += (a * np.float32(of_a[position]) + b * np.float32(of_b[position])) + (
                        c * np.float32(of_c[position]) + d * np.float32(of_d[position])
                    )
            for i in range(in_fours, head_dim):
                for position in range(count):
                    weights[position] += row[i] * np.float32(its_keys[i * capacity + position])
            highest = np.float32(-3e38)
            for position in range(count):
                weights[position] *= scale * key_scales[position]
                highest = max(highest, weights[position])
            total = np.float32(0)
            for position in range(count):
                weights[position] = exp(weights[position] - highest)
                total += weights[position]
            for position in range(count):
                weights[position] *= value_scales[position]
            sums = np.zeros(head_dim, np.float32)
            for position in range(0, count // 4 * 4, 4):
                _prefetch(next_keys_address + position * head_dim, 4 * head_dim)
                a, b = weights[position], weights[position + 1]
                c, d = weights[position + 2], weights[position + 3]
                four = its_values[position * head_dim : (position + 4) * head_dim]
                for i in range(head_dim):
                    sums[i] += (a * np.float32(four[i]) + b * np.float32(four[i + head_dim])) + (
                        c * np.float32(four[i + 2 * head_dim]) + d * np.float32(four[i + 3 * head_dim])
                    )
            for position in range(count // 4 * 4, count):
                for i in range(head_dim):
                    sums[i] += weights[position] * np.float32(its_values[position * head_dim + i])
            for i in range(head_dim):
                found[sequence, head, i] = sums[i] / total
