"""KV caches: the attention keys and values of one sequence in all layers. Their full capacity is allocated at once."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference.float_attention import attention
from deployments.inference.int8_attention import append_and_attend, quantize_keys_and_values
from deployments.inference.rotary import Rotation, rotate
from deployments.inference.vnni import KEYS_IN_BLOCK

Shape = tuple[int, int, int, int]
"""(num_layers, num_kv_heads, capacity, head_dim)."""


class KeyValueCache(ABC):
    """The keys and values of one sequence."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.length = 0
        """Number of positions that are filled; the model increases it after all layers have written the new ones."""

    @property
    def capacity(self) -> int:
        """Number of positions that fit."""
        return self._shape[2]

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part, _, _ in self._parts())

    def with_capacity(self, capacity: int) -> Self:
        """Return this cache if its capacity suffices, else a larger copy."""
        if capacity <= self.capacity:
            return self
        num_layers, num_kv_heads, _, head_dim = self._shape
        return self._copy_into(self._empty((num_layers, num_kv_heads, capacity, head_dim)))

    def copy(self) -> Self:
        """Return an independent copy."""
        return self._copy_into(self._empty(self._shape))

    def _copy_into(self, target: Self) -> Self:
        for (source, dim, positions_per_index), (copy, _, _) in zip(self._parts(), target._parts(), strict=True):
            num_filled = math.ceil(self.length / positions_per_index)
            copy.narrow(dim, 0, num_filled).copy_(source.narrow(dim, 0, num_filled))
        target.length = self.length
        return target

    @abstractmethod
    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store keys and values, shape (n, num_kv_heads, head_dim), as a layer's positions from `length` on.

        `length` stays as it is.
        """

    @abstractmethod
    def read(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values before position `end`, shape (num_kv_heads, end, head_dim) each."""

    @classmethod
    @abstractmethod
    def append_and_attend(
        cls,
        caches: Sequence[Self],
        layer: int,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        rotation: Rotation | None,
    ) -> Tensor:
        """Append one position to each sequence; return the attention of its queries to all positions up to itself.

        Queries and the result have shape (num_sequences, num_heads, head_dim), keys and values (num_sequences,
        num_kv_heads, head_dim). Queries and keys are rotated by `rotation` first, if there is one. As with `write`, the
        lengths of the caches stay as they are.
        """

    @abstractmethod
    def _empty(self, shape: Shape) -> Self:
        """Return an empty cache of the same class and data type."""

    @abstractmethod
    def _parts(self) -> list[tuple[Tensor, int, int]]:
        """Return each stored tensor, its dimension that counts positions, and the positions in one index of it."""


class FloatCache(KeyValueCache):
    """Keys and values in the data type that the layers compute them in."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__(shape)
        self._keys, self._values = torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        positions = slice(self.length, self.length + len(keys))
        self._keys[layer, :, positions] = keys.transpose(0, 1)
        self._values[layer, :, positions] = values.transpose(0, 1)

    def read(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        return self._keys[layer, :, :end], self._values[layer, :, :end]

    @classmethod
    def append_and_attend(
        cls,
        caches: Sequence[Self],
        layer: int,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        rotation: Rotation | None,
    ) -> Tensor:
        if rotation:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        attn_out = torch.empty_like(queries)
        for row, cache in enumerate(caches):
            cache.write(layer, keys[row : row + 1], values[row : row + 1])
            past = cache.read(layer, cache.length + 1)
            attn_out[row] = attention(queries[row][:, None], *past)[:, 0]
        return attn_out

    def _empty(self, shape: Shape) -> Self:
        return type(self)(shape, self._keys.dtype)

    def _parts(self) -> list[tuple[Tensor, int, int]]:
        return [(self._keys, 2, 1), (self._values, 2, 1)]


class Int8Cache(KeyValueCache):
    """Keys and values quantized to 8 bits, with a scale for each position and head.

    The layout suits VPDPBUSD, which multiplies and sums quads of bytes: a quad holds four dimensions of a key, or four
    positions of one dimension of the values. A block of KEYS_IN_BLOCK keys stores the first quad of each key, then the
    second, and so on. The shapes are in `int8_attention.quantize_keys_and_values`. The capacity is rounded up to a
    multiple of KEYS_IN_BLOCK.
    """

    def __init__(self, shape: Shape) -> None:
        num_layers, num_kv_heads, capacity, head_dim = shape
        num_blocks = math.ceil(capacity / KEYS_IN_BLOCK)
        capacity = num_blocks * KEYS_IN_BLOCK
        super().__init__((num_layers, num_kv_heads, capacity, head_dim))
        heads = (num_layers, num_kv_heads)
        self._keys = torch.empty(*heads, num_blocks, math.ceil(head_dim / 4), KEYS_IN_BLOCK, 4, dtype=torch.uint8)
        self._values = torch.empty(*heads, capacity // 4, head_dim, 4, dtype=torch.int8)
        self._key_scales, self._value_scales = torch.empty(2, *heads, capacity)
        self._addresses = [part.data_ptr() for part in self._stored()]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        quantize_keys_and_values(keys, values, [part[layer] for part in self._stored()], self.length)

    def read(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        head_dim = self._shape[3]
        keys = self._keys[layer].transpose(2, 3).flatten(3).flatten(1, 2)[:, :end, :head_dim].float() - 128
        values = self._values[layer].transpose(2, 3).flatten(1, 2)[:, :end]
        key_scales, value_scales = (part[layer, :, :end, None] for part in (self._key_scales, self._value_scales))
        return keys * key_scales, values * value_scales

    @classmethod
    def append_and_attend(
        cls,
        caches: Sequence[Self],
        layer: int,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        rotation: Rotation | None,
    ) -> Tensor:
        return append_and_attend(queries, keys, values, rotation, cls.cache_table(caches, to_append=True), layer)

    @classmethod
    def attend(cls, caches: Sequence[Self], layer: int, queries: Tensor) -> Tensor:
        """Return the attention of queries to all filled positions of their caches.

        Takes and returns shape (num_caches, num_heads, head_dim). `num_heads` may be a multiple of `num_kv_heads`: the
        queries to one head of a cache follow one another.
        """
        _, num_kv_heads, _, head_dim = caches[0]._shape
        none = queries.new_empty(0, num_kv_heads, head_dim)
        return append_and_attend(queries, none, none, None, cls.cache_table(caches, to_append=False), layer)

    @staticmethod
    def cache_table(caches: Sequence["Int8Cache"], *, to_append: bool) -> NDArray[np.int64]:
        """Return the caches as `int8_attention.append_and_attend` takes them, int64 (num_sequences, 6).

        The addresses in it are valid while the caches exist. Raises ValueError if `to_append` and a cache is full.
        """
        if to_append and any(cache.length >= cache.capacity for cache in caches):
            raise ValueError("The KV cache of a sequence is full.")
        return np.array([(*cache._addresses, cache.capacity, cache.length) for cache in caches], np.int64)

    def _empty(self, shape: Shape) -> Self:
        return type(self)(shape)

    def _parts(self) -> list[tuple[Tensor, int, int]]:
        return list(zip(self._stored(), (2, 2, 2, 2), (KEYS_IN_BLOCK, 1, 4, 1), strict=True))

    def _stored(self) -> list[Tensor]:
        return [self._keys, self._key_scales, self._values, self._value_scales]
