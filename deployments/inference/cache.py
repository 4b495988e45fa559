"""The attention keys and values of running sequences, preallocated to their full length."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from deployments.inference.attention import append_and_attend, round_keys_and_values
from deployments.inference.rotary import Rotation, rotate

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
        return sum(part.nbytes for part, _ in self._parts())

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
        for (mine, dim), (its, _) in zip(self._parts(), other._parts(), strict=True):
            its.narrow(dim, 0, self.length).copy_(mine.narrow(dim, 0, self.length))
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
    def _parts(self) -> list[tuple[Tensor, int]]:
        """Return what is stored, and which dimension of it is the position."""


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

    def _parts(self) -> list[tuple[Tensor, int]]:
        return [(self._keys, 2), (self._values, 2)]


class Int8Cache(KeyValueCache):
    """Keys and values rounded to 8 bits, each with a scale of its own for every position and head.

    Keys are stored with the positions of a dimension side by side, so that a query meets many keys in one instruction.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        num_layers, num_kv_heads, capacity, head_dim = shape
        self._keys = torch.empty(num_layers, num_kv_heads, head_dim, capacity, dtype=torch.int8)
        self._values = torch.empty(shape, dtype=torch.int8)
        self._key_scales = torch.empty(num_layers, num_kv_heads, capacity)
        self._value_scales = torch.empty(num_layers, num_kv_heads, capacity)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        round_keys_and_values(keys, values, [part[layer] for part in self._stored()], self.length)

    def read(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        keys = self._keys[layer, :, :, :end] * self._key_scales[layer, :, None, :end]
        values = self._values[layer, :, :end] * self._value_scales[layer, :, :end, None]
        return keys.transpose(1, 2), values

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
        return append_and_attend(queries, keys, values, rotation, [cache._place() for cache in caches], layer)

    @classmethod
    def attend(cls, caches: Sequence[Self], layer: int, queries: Tensor) -> Tensor:
        """Return what one query for each cache, shape (n, num_heads, head_dim), finds in it; nothing is written."""
        _, num_kv_heads, _, head_dim = caches[0]._shape
        nothing = queries.new_empty(0, num_kv_heads, head_dim)
        return append_and_attend(queries, nothing, nothing, None, [cache._place() for cache in caches], layer)

    def _place(self) -> tuple[int, ...]:
        return (*(part.data_ptr() for part in self._stored()), self.capacity, self.length)

    def _of_shape(self, shape: Shape) -> Self:
        return type(self)(shape)

    def _parts(self) -> list[tuple[Tensor, int]]:
        return list(zip(self._stored(), (3, 2, 2, 2), strict=True))

    def _stored(self) -> list[Tensor]:
        return [self._keys, self._key_scales, self._values, self._value_scales]


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what queries, shape (..., num_heads, n, head_dim), find; `mask`, (n, num_keys), what each may see."""
    is_grouped = keys.shape[-3] != queries.shape[-3]
    if queries.ndim == 3:
        return attention(queries[None], keys[None], values[None], mask)[0]
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=is_grouped)
