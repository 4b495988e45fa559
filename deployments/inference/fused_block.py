"""A decode step of one decoder block in a single compiled call, in int8, for a small batch of sequences.

Called from Python one after the other, the kernels of a block would leave memory idle in between.
"""

from collections.abc import Sequence

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference.int8_attention import append_and_attend_kernel
from deployments.inference.jit import kernel, on_torch_threads
from deployments.inference.kv_cache import Int8Cache
from deployments.inference.numba_math import FASTMATH
from deployments.inference.rotary import Rotation
from deployments.inference.small_batch import Int8Weights, multiply_small_batch, quantize_small_batch

Norm = tuple[NDArray[np.float32], NDArray[np.float32], float]
"""Weight, bias and epsilon of a layer norm."""


def fused_parallel_block(
    hidden: Tensor,
    norm: Norm,
    layers: tuple[Int8Weights, Int8Weights, Int8Weights, Int8Weights],
    num_kv_heads: int,
    caches: Sequence[Int8Cache],
    layer: int,
    rotation: Rotation,
) -> Tensor:
    """Append one token to each sequence and return the block's output for its hidden state h, fp32 (n, dim).

    Attention and feed-forward are parallel: the output is h + proj(attention(qkv(x))) + fc2(gelu(fc1(x))), where x is
    norm(h). `layers` are qkv, proj, fc1 and fc2; `layer` is the block's index in the caches; `rotation` is that of the
    tokens' positions. Needs a CPU with VNNI.
    """
    cache_table = Int8Cache.cache_table(caches, to_append=True)
    y = torch.empty(hidden.shape)
    # Contiguous, because numba compiles a kernel again for every other memory layout.
    arrays = (part.contiguous().numpy() for part in (hidden, *rotation))
    _parallel_block(norm, *layers, num_kv_heads, *arrays, cache_table, layer, torch.get_num_threads(), y.numpy())
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
@kernel(parallel=False, needs_vnni=True)
def _parallel_block(
    norm: Norm,
    qkv: Int8Weights,
    proj: Int8Weights,
    fc1: Int8Weights,
    fc2: Int8Weights,
    num_kv_heads: int,
    hidden: NDArray[np.float32],
    cosines: NDArray[np.float32],
    sines: NDArray[np.float32],
    cache_table: NDArray[np.int64],
    layer: int,
    num_threads: int,
    y: NDArray[np.float32],
) -> None:
    num_tokens, dim = hidden.shape
    _layer_norm(hidden, norm, y)
    tokens, scales = quantize_small_batch(y)
    inner = np.empty((num_tokens, len(fc1[0])), np.float32)
    multiply_small_batch(tokens, scales, fc1, True, inner)
    projected = np.empty((num_tokens, len(qkv[0])), np.float32)
    multiply_small_batch(tokens, scales, qkv, False, projected)

    head_dim = (len(qkv[0]) - dim) // (2 * num_kv_heads)
    end = dim + num_kv_heads * head_dim
    queries = projected[:, :dim].copy().reshape(num_tokens, dim // head_dim, head_dim)
    keys = projected[:, dim:end].copy().reshape(num_tokens, num_kv_heads, head_dim)
    values = projected[:, end:].copy().reshape(num_tokens, num_kv_heads, head_dim)
    attn_out = np.empty(queries.shape, np.float32)
    append_and_attend_kernel(queries, keys, values, cosines, sines, cache_table, layer, num_threads, attn_out)

    tokens, scales = quantize_small_batch(attn_out.reshape(num_tokens, dim))
    attn_projected = np.empty(y.shape, np.float32)
    multiply_small_batch(tokens, scales, proj, False, attn_projected)
    tokens, scales = quantize_small_batch(inner)
    multiply_small_batch(tokens, scales, fc2, False, y)
    for token in range(num_tokens):
        for i in range(dim):
            y[token, i] += hidden[token, i] + attn_projected[token, i]
