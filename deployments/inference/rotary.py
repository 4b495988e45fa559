"""Rotary position embeddings (arXiv 2104.09864), applied to the first dimensions of each head."""

import torch
from torch import Tensor

ROPE_THETA = 10_000.0
ROTARY_SHARE = 0.5
"""Fraction of head_dim that is rotated."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, shape (..., 1, num_pairs), for positions of shape (...)."""


class Rotary:
    def __init__(self, head_dim: int) -> None:
        num_pairs = int(head_dim * ROTARY_SHARE) // 2
        self._inverse_frequencies = ROPE_THETA ** (-torch.arange(num_pairs) / num_pairs)

    def __call__(self, positions: Tensor) -> Rotation:
        angles = (positions[..., None] * self._inverse_frequencies)[..., None, :]
        return angles.cos(), angles.sin()


def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
    """Apply the rotary embedding to queries or keys of shape (..., n, num_heads, head_dim).

    Dimension i is paired with dimension num_pairs + i; dimensions from 2 * num_pairs on stay as they are.
    """
    cosines, sines = (part.to(heads.dtype) for part in rotation)
    num_pairs = cosines.shape[-1]
    first, second, rest = torch.split(heads, [num_pairs, num_pairs, heads.shape[-1] - 2 * num_pairs], dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines, rest], dim=-1)
