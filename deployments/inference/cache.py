"""The attention keys and values of running sequences, preallocated to their full length."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deployments.inference.attention import append_and_attend, round_keys_and_values
from deployments.inference.rotary import Rotation, rotate
from deployments.inference.vnni import KEYS_IN_BLOCK

Shape = tuple[int, int, int, int]
"""(num_layers, num_kv_heads, capacity, head_dim)."""


class KeyValueCache(ABC):
    """The keys and values of one sequence."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.length = 0
        """Positions filled; the model moves it on when all layers have written theirs."""

    @property
    def capacity(self) -> int:
        return self._shape[2]

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part, _, _ in self._parts())

    def with_capacity(self, capacity: int) -> Self:
        """Return a cache with the same positions filled and room for at least `capacity`: this one if it has it."""
        if capacity <= self.capacity:
            return self
        num_layers, num_kv_heads, _, head_dim = self._shape
        return self._copied_into(self._of_shape((num_layers, num_kv_heads, capacity, head_dim)))

    def copy(self) -> Self:
        """Return a cache that holds the same and then goes its own way."""
        return self._copied_into(self._of_shape(self._shape))

    def _copied_into(self, other: Self) -> Self:
        for (mine, dim, at_once), (its, _, _) in zip(self._parts(), other._parts(), strict=True):
            num_filled = math.ceil(self.length / at_once)
            its.narrow(dim, 0, num_filled).copy_(mine.narrow(dim, 0, num_filled))
        other.length = self.length
        return other

    @abstractmethod
    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store a layer's next positions, shape (n, num_kv_heads, head_dim) each."""

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
        """Rotate queries and keys of a next position of each sequence, write it, and return what it finds up to itself.

        Without `rotation` they stay as they are.

        Queries and result have shape (num_sequences, num_heads, head_dim), keys and values (..., num_kv_heads, ...).
        """

    @abstractmethod
    def _of_shape(self, shape: Shape) -> Self:
        """Return an empty cache of this kind."""

    @abstractmethod
    def _parts(self) -> list[tuple[Tensor, int, int]]:
        """Return what is stored, which dimension of it counts the positions, and how many at once."""


class FloatCache(KeyValueCache):
    """Keys and values as they are."""

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
        found = torch.empty_like(queries)
        for row, cache in enumerate(caches):
            cache.write(layer, keys[row : row + 1], values[row : row + 1])
            past = cache.read(layer, cache.length + 1)
            found[row] = attention(queries[row][:, None], *past)[:, 0]
        return found

    def _of_shape(self, shape: Shape) -> Self:
        return type(self)(shape, self._keys.dtype)

    def _parts(self) -> list[tuple[Tensor, int, int]]:
        return [(self._keys, 2, 1), (self._values, 2, 1)]


class Int8Cache(KeyValueCache):
    """Keys and values rounded to 8 bits, each with a scale of its own for every position and head.

    Four dimensions of a key stand side by side, then those of other keys, and so do four positions of a value's
    dimension: one instruction then meets many positions or dimensions. The capacity is a multiple of KEYS_IN_BLOCK.
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
        round_keys_and_values(keys, values, [part[layer] for part in self._stored()], self.length)

    def read(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        head_dim = self._shape[3]
        keys = self._keys[layer].transpose(2, 3).flatten(3).flatten(1, 2)[:, :end, :head_dim].float() - 128
        values = self._values[layer].transpose(2, 3).flatten(1, 2)[:, :end]
        scales = (part[layer, :, :end, None] for part in (self._key_scales, self._value_scales))
        return keys * next(scales), values * next(scales)

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
        return append_and_attend(queries, keys, values, rotation, cls.places(caches, to_append=True), layer)

    @classmethod
    def attend(cls, caches: Sequence[Self], layer: int, queries: Tensor) -> Tensor:
        """Return what one query for each cache, shape (n, num_heads, head_dim), finds in it; nothing is written."""
        _, num_kv_heads, _, head_dim = caches[0]._shape
        nothing = queries.new_empty(0, num_kv_heads, head_dim)
        return append_and_attend(queries, nothing, nothing, None, cls.places(caches, to_append=False), layer)

    @staticmethod
    def places(caches: Sequence["Int8Cache"], *, to_append: bool) -> NDArray[np.int64]:
        """Return where each sequence is stored, as compiled loops take it; ValueError if one to append to is full."""
        if to_append and any(cache.length >= cache.capacity for cache in caches):
            raise ValueError("A sequence has no room for another position.")
        return np.array([(*cache._addresses, cache.capacity, cache.length) for cache in caches], np.int64)

    def _of_shape(self, shape: Shape) -> Self:
        return type(self)(shape)

    def _parts(self) -> list[tuple[Tensor, int, int]]:
        return list(zip(self._stored(), (2, 2, 2, 2), (KEYS_IN_BLOCK, 1, 4, 1), strict=True))

    def _stored(self) -> list[Tensor]:
        return [self._keys, self._key_scales, self._values, self._value_scales]


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what queries, shape (..., num_heads, n, head_dim), find; `mask`, (n, num_keys), what each may see."""
    is_grouped = keys.shape[-3] != queries.shape[-3]
    if queries.ndim == 3:
        return attention(queries[None], keys[None], values[None], mask)[0]
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=is_grouped)
