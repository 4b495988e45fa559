"""Attention for packed training sequences: several segments share a row and a prefix, but do not see each other."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_NUM_GROUPS = 3
"""Segments of similar length are computed together, which keeps padding small."""


class PackedAttention:
    """Causal attention within each segment, plus full attention to the prefix.

    One mask over whole rows would give the same result, but spend most of its time on pairs that it masks out.
    """

    def __init__(self, segments: NDArray[np.int64], num_prefix: int) -> None:
        """Prepare the index tensors for one batch.

        `segments`, shape (num_rows, length), holds the segment number of each position behind the `num_prefix`
        positions of the prefix; -1 is padding.
        """
        num_rows, length = segments.shape
        self._num_prefix = num_prefix
        # Number the segments across rows, so that one call finds where each begins in the flattened batch.
        flat = np.where(segments >= 0, np.arange(num_rows)[:, None] * (segments.max() + 1) + segments, -1).ravel()
        numbers, starts, lengths = np.unique(flat, return_index=True, return_counts=True)
        starts, lengths = starts[numbers >= 0], lengths[numbers >= 0]
        groups = np.array_split(np.argsort(lengths, kind="stable"), _NUM_GROUPS)
        self._row_one_hots, self._group_indices, self._masks = [], [], []
        gather_parts = []
        for group in groups:
            if not len(group):
                continue
            offsets = np.arange(lengths[group].max())
            indices = np.where(offsets < lengths[group, None], starts[group, None] + offsets, flat.size)
            gather_parts.append(indices.ravel())
            self._row_one_hots.append(functional.one_hot(torch.from_numpy(starts[group] // length), num_rows))
            self._group_indices.append(torch.from_numpy(indices))
            prefix_mask = torch.zeros(len(offsets), num_prefix, dtype=torch.bool)
            causal_mask = torch.ones(len(offsets), len(offsets)).triu(1).bool()
            self._masks.append(torch.cat([prefix_mask, causal_mask], dim=1))
        gather = np.concatenate(gather_parts)
        scatter = np.full(flat.size + 1, gather.size)
        scatter[gather] = np.arange(gather.size)
        self._gather, self._scatter = torch.from_numpy(gather), torch.from_numpy(scatter[:-1])

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return the attention output.

        Like the arguments, it has shape (num_rows, num_prefix + length, num_heads, head_dim).
        """
        num_rows, _, num_heads, head_dim = queries.shape
        sizes = [indices.numel() for indices in self._group_indices]
        prefix_queries, prefix_keys, prefix_values = (part[:, : self._num_prefix] for part in (queries, keys, values))
        by_group = [
            _GatherRows.apply(part[:, self._num_prefix :].flatten(0, 1), self._gather, self._scatter).split(sizes)  # type: ignore[no-untyped-call]
            for part in (queries, keys, values)
        ]
        outputs = []
        for one_hot, indices, mask, *parts in zip(
            self._row_one_hots, self._group_indices, self._masks, *by_group, strict=True
        ):
            group_queries, group_keys, group_values = (part.view(*indices.shape, num_heads, head_dim) for part in parts)
            group_keys = torch.cat([_select_rows(prefix_keys, one_hot), group_keys], dim=1)
            group_values = torch.cat([_select_rows(prefix_values, one_hot), group_values], dim=1)
            outputs.append(_attention(group_queries, group_keys, group_values, mask).flatten(0, 1))
        segment_output = _GatherRows.apply(torch.cat(outputs), self._scatter, self._gather)  # type: ignore[no-untyped-call]
        prefix_output = _attention(prefix_queries, prefix_keys, prefix_values, None)
        return torch.cat([prefix_output, segment_output.view(num_rows, -1, num_heads, head_dim)], dim=1)


def _attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return softmax(queries keys^T / sqrt(head_dim)) values, of shapes (n, length, num_heads, head_dim).

    Pairs where `mask` is true are left out. Not the fused function: with so few keys, this is several times faster,
    above all in the backward pass.
    """
    queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
    scores = (queries @ keys.transpose(2, 3)) * queries.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    output: Tensor = scores.softmax(dim=-1).to(values.dtype) @ values
    return output.transpose(1, 2)


def _select_rows(prefix: Tensor, one_hot: Tensor) -> Tensor:
    """Return the prefix of each segment's row: a matrix product, because the backward pass of indexing is slow."""
    selected: Tensor = (one_hot.to(prefix.dtype) @ prefix.flatten(1)).view(len(one_hot), *prefix.shape[1:])
    return selected


class _GatherRows(torch.autograd.Function):
    """Select rows of a tensor by index; an index just past the end gives zeros.

    The backward pass selects rows by the inverse index. That is faster than torch's own indexing, which adds gradients
    up row by row in case an index occurs twice.
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
