"""A decoder block whose attention and feed-forward stand side by side, in int8, for a few tokens in one compiled call.

Called from Python one after the other, a block's loops leave memory idle between them.
"""

from collections.abc import Sequence

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference import vnni
from deployments.inference.attention import append_and_attend_few
from deployments.inference.cache import Int8Cache
from deployments.inference.compiled import FASTMATH, compiled, on_torch_threads
from deployments.inference.int8_kernels import Layer, multiply_few, round_few
from deployments.inference.rotary import Rotation

Norm = tuple[NDArray[np.float32], NDArray[np.float32], float]
"""Weight, bias and epsilon of a layer norm."""


def few_parallel_block(
    hidden: Tensor,
    norm: Norm,
    layers: tuple[Layer, Layer, Layer, Layer],
    num_kv_heads: int,
    caches: Sequence[Int8Cache],
    layer: int,
    rotation: Rotation,
) -> Tensor:
    """Append one token to each sequence; return what its hidden states h, fp32 (n, dim), become.

    That is h + proj(attention(qkv(x))) + fc2(gelu(fc1(x))), where x is norm(h); `layers` are qkv, proj, fc1 and fc2.
    `layer` is the block's in the caches, `rotation` of the tokens' positions. Needs a CPU with VNNI.
    """
    places = Int8Cache.places(caches, to_append=True)
    y = torch.empty(hidden.shape)
    # One layout for all callers, or the loop would be compiled for each.
    given = (part.contiguous().numpy() for part in (hidden, *rotation))
    _parallel_block(norm, *layers, num_kv_heads, *given, places, layer, torch.get_num_threads(), y.numpy())
    return y


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _layer_norm(x: NDArray[np.float32], norm: Norm, y: NDArray[np.float32]) -> None:
    weight, bias, epsilon = norm
    for token in range(len(x)):
        row = x[token]
        mean = np.float32(0)
        for i in range(len(row)):
            mean += row[i]
        mean /= np.float32(len(row))
        variance = np.float32(0)
        for i in range(len(row)):
            variance += (row[i] - mean) * (row[i] - mean)
        factor = np.float32(1 / np.sqrt(variance / np.float32(len(row)) + np.float32(epsilon)))
        for i in range(len(row)):
            y[token, i] = (row[i] - mean) * factor * weight[i] + bias[i]


@on_torch_threads
@compiled(parallel=False, is_prepared=vnni.IS_THERE)
def _parallel_block(
    norm: Norm,
    qkv: Layer,
    proj: Layer,
    fc1: Layer,
    fc2: Layer,
    num_kv_heads: int,
    hidden: NDArray[np.float32],
    cosines: NDArray[np.float32],
    sines: NDArray[np.float32],
    places: NDArray[np.int64],
    layer: int,
    num_threads: int,
    y: NDArray[np.float32],
) -> None:
    num_tokens, dim = hidden.shape
    _layer_norm(hidden, norm, y)
    tokens, scales = round_few(y)
    inner = np.empty((num_tokens, len(fc1[0])), np.float32)
    multiply_few(tokens, scales, fc1, True, inner)
    projected = np.empty((num_tokens, len(qkv[0])), np.float32)
    multiply_few(tokens, scales, qkv, False, projected)

    head_dim = (len(qkv[0]) - dim) // (2 * num_kv_heads)
    end = dim + num_kv_heads * head_dim
    queries = projected[:, :dim].copy().reshape(num_tokens, dim // head_dim, head_dim)
    keys = projected[:, dim:end].copy().reshape(num_tokens, num_kv_heads, head_dim)
    values = projected[:, end:].copy().reshape(num_tokens, num_kv_heads, head_dim)
    found = np.empty(queries.shape, np.float32)
    append_and_attend_few(queries, keys, values, cosines, sines, places, layer, num_threads, found)

    tokens, scales = round_few(found.reshape(num_tokens, dim))
    attended = np.empty(y.shape, np.float32)
    multiply_few(tokens, scales, proj, False, attended)
    tokens, scales = round_few(inner)
    multiply_few(tokens, scales, fc2, False, y)
    for token in range(num_tokens):
        for i in range(dim):
            y[token, i] += hidden[token, i] + attended[token, i]
