"""KV caches: the attention keys and values of one sequence, all layers, allocated to their full capacity at once."""

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
        """Positions filled; the model increases it after all layers have written theirs."""

    @property
    def capacity(self) -> int:
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
        for (source_part, dim, step), (target_part, _, _) in zip(self._parts(), target._parts(), strict=True):
            num_filled = math.ceil(self.length / step)
            target_part.narrow(dim, 0, num_filled).copy_(source_part.narrow(dim, 0, num_filled))
        target.length = self.length
        return target

    @abstractmethod
    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store keys and values, shape (n, num_kv_heads, head_dim), as a layer's positions from `length` on."""

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
        num_kv_heads, head_dim). Queries and keys are rotated by `rotation` first, if there is one.
        """

    @abstractmethod
    def _empty(self, shape: Shape) -> Self:
        """Return an empty cache of the same kind."""

    @abstractmethod
    def _parts(self) -> list[tuple[Tensor, int, int]]:
        """Return each stored tensor, the dimension that runs over positions, and the positions in one step of it."""


class FloatCache(KeyValueCache):
    """Keys and values as the layers compute them."""

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

    The layout suits instructions that multiply four bytes at a time: keys are interleaved by four dimensions of
    KEYS_IN_BLOCK keys, values by four positions of each dimension. The capacity is rounded up to a multiple of
    KEYS_IN_BLOCK.
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
        """Return the attention of one query per cache, shape (n, num_heads, head_dim), to what the cache holds."""
        _, num_kv_heads, _, head_dim = caches[0]._shape
        nothing = queries.new_empty(0, num_kv_heads, head_dim)
        return append_and_attend(queries, nothing, nothing, None, cls.cache_table(caches, to_append=False), layer)

    @staticmethod
    def cache_table(caches: Sequence["Int8Cache"], *, to_append: bool) -> NDArray[np.int64]:
        """Return the caches as `int8_attention.append_and_attend` takes them.

        Raises ValueError if `to_append` and a cache is full.
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
