"""Rotary position embeddings (arXiv 2104.09864): how far the first dimensions of a head turn at each position."""

import torch
from torch import Tensor

ROPE_THETA = 10_000.0
ROTARY_SHARE = 0.5
"""Of a head's dimensions, how many turn with the position."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, shape (..., 1, num_pairs), of positions, shape (...)."""


class Rotary:
    def __init__(self, head_dim: int) -> None:
        num_pairs = int(head_dim * ROTARY_SHARE) // 2
        self._speeds = ROPE_THETA ** (-torch.arange(num_pairs) / num_pairs)

    def __call__(self, positions: Tensor) -> Rotation:
        angles = (positions[..., None] * self._speeds)[..., None, :]
        return angles.cos(), angles.sin()


def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
    """Return queries or keys, shape (..., n, num_heads, head_dim), turned as Rotary says for their positions."""
    cosines, sines = (part.to(heads.dtype) for part in rotation)
    num_pairs = cosines.shape[-1]
    first, second, rest = torch.split(heads, [num_pairs, num_pairs, heads.shape[-1] - 2 * num_pairs], dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines, rest], dim=-1)
