"""Rotary position embeddings (arXiv 2104.09864): how far the first dimensions of a head turn at each position."""

import torch
from torch import Tensor

from deployments.captioner.architecture import TextConfig

ROPE_THETA = 10_000.0
ROTARY_SHARE = 0.5
"""Of a head's dimensions, how many turn with the position."""

Turn = tuple[Tensor, Tensor]
"""Cosines and sines, shape (..., 1, num_pairs), of positions, shape (...)."""


class Rotary:
    def __init__(self, config: TextConfig) -> None:
        num_pairs = int(config.head_dim * ROTARY_SHARE) // 2
        self._speeds = ROPE_THETA ** (-torch.arange(num_pairs) / num_pairs)

    def __call__(self, positions: Tensor) -> Turn:
        angles = (positions[..., None] * self._speeds)[..., None, :]
        return angles.cos(), angles.sin()


def rotate(heads: Tensor, turn: Turn) -> Tensor:
    """Return queries or keys, shape (..., n, num_heads, head_dim), turned as Rotary says for their positions."""
    cosines, sines = (part.to(heads.dtype) for part in turn)
    num_pairs = cosines.shape[-1]
    first, second, rest = torch.split(heads, [num_pairs, num_pairs, heads.shape[-1] - 2 * num_pairs], dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines, rest], dim=-1)
