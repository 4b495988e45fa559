"""Attention over rows of blocks, for training: computed only where something is seen."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_NUM_GROUPS = 3
"""Blocks of similar length are computed together, so that little is padding."""


class BlockAttention:
    """Attention in which all positions see the prefix, and those of a block also themselves and what is before them.

    Blocks do not see each other: a mask over whole rows would spend most of its time on what it hides.
    """

    def __init__(self, blocks: NDArray[np.int64], num_prefix: int) -> None:
        """Prepare for `blocks`, shape (num_rows, length): the number of each position's block, -1 for none.

        They follow a prefix of `num_prefix` positions.
        """
        num_rows, length = blocks.shape
        self._num_prefix = num_prefix
        numbers = np.where(blocks >= 0, np.arange(num_rows)[:, None] * (blocks.max() + 1) + blocks, -1).ravel()
        found, starts, lengths = np.unique(numbers, return_index=True, return_counts=True)
        starts, lengths = starts[found >= 0], lengths[found >= 0]
        groups = np.array_split(np.argsort(lengths, kind="stable"), _NUM_GROUPS)
        self._rows, self._slots, self._hidden = [], [], []
        taken = []
        for group in groups:
            if not len(group):
                continue
            offsets = np.arange(lengths[group].max())
            slots = np.where(offsets < lengths[group, None], starts[group, None] + offsets, numbers.size)
            taken.append(slots.ravel())
            self._rows.append(functional.one_hot(torch.from_numpy(starts[group] // length), num_rows))
            self._slots.append(torch.from_numpy(slots))
            sees_prefix = torch.zeros(len(offsets), num_prefix, dtype=torch.bool)
            self._hidden.append(torch.cat([sees_prefix, torch.ones(len(offsets), len(offsets)).triu(1).bool()], dim=1))
        all_taken = np.concatenate(taken)
        places = np.full(numbers.size + 1, all_taken.size)
        places[all_taken] = np.arange(all_taken.size)
        self._taken, self._places = torch.from_numpy(all_taken), torch.from_numpy(places[:-1])

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return what is read, like the arguments of shape (num_rows, num_prefix + length, num_heads, head_dim)."""
        num_rows, _, num_heads, head_dim = queries.shape
        sizes = [slots.numel() for slots in self._slots]
        first_queries, first_keys, first_values = (part[:, : self._num_prefix] for part in (queries, keys, values))
        in_blocks = [
            _Taken.apply(part[:, self._num_prefix :].flatten(0, 1), self._taken, self._places).split(sizes)  # type: ignore[no-untyped-call]
            for part in (queries, keys, values)
        ]
        read = []
        for rows, slots, hidden, *parts in zip(self._rows, self._slots, self._hidden, *in_blocks, strict=True):
            asking, own_keys, own_values = (part.view(*slots.shape, num_heads, head_dim) for part in parts)
            seen_keys = torch.cat([_of_rows(first_keys, rows), own_keys], dim=1)
            seen_values = torch.cat([_of_rows(first_values, rows), own_values], dim=1)
            read.append(_attention(asking, seen_keys, seen_values, hidden).flatten(0, 1))
        of_blocks = _Taken.apply(torch.cat(read), self._places, self._taken)  # type: ignore[no-untyped-call]
        of_prefix = _attention(first_queries, first_keys, first_values, None)
        return torch.cat([of_prefix, of_blocks.view(num_rows, -1, num_heads, head_dim)], dim=1)


def _attention(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> Tensor:
    """Return softmax(queries keys^T / sqrt(head_dim)) values, of shapes (n, length, num_heads, head_dim).

    Written out: for as few keys as these it is several times faster than the fused function, backwards above all.
    """
    queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
    scores = (queries @ keys.transpose(2, 3)) * queries.shape[-1] ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    read: Tensor = scores.softmax(dim=-1).to(values.dtype) @ values
    return read.transpose(1, 2)


def _of_rows(prefix: Tensor, rows: Tensor) -> Tensor:
    """Return each block's prefix; a product, because the gradients of an index are added up one by one."""
    repeated: Tensor = (rows.to(prefix.dtype) @ prefix.flatten(1)).view(len(rows), *prefix.shape[1:])
    return repeated


class _Taken(torch.autograd.Function):
    """Rows of a tensor by index, zeros for an index behind the last; backwards, rows by the inverse of the index.

    torch's own indexing adds up gradients row by row, because an index may stand twice.
    """

    @staticmethod
    def forward(ctx: Any, source: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return _rows_or_zeros(source, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _rows_or_zeros(gradients[0], ctx.saved_tensors[0]), None, None


def _rows_or_zeros(source: Tensor, index: Tensor) -> Tensor:
    return torch.cat([source, source.new_zeros(1, *source.shape[1:])]).index_select(0, index)
