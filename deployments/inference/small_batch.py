"""Whole int8 layers for a small batch of tokens, as fast as memory delivers the weights. They need a CPU with VNNI."""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference import vnni
from deployments.inference.jit import kernel, on_torch_threads
from deployments.inference.numba_math import FASTMATH, quantize_row
from deployments.inference.quantization import QMAX, gelu_in_place
from deployments.inference.vnni import ROWS_IN_BLOCK

Int8Weights = tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]
"""A layer's weights, shape (out, in), and the scale and bias of each output channel, shape (out,)."""

_PREFETCH_BYTES = 8192
"""How far ahead of their use weights are prefetched."""
_L1_BYTES = 16384
"""Bytes of tokens that surely stay in the first-level cache while weights stream through it."""
_CHUNK_BYTES = 2048
"""Bytes of each token that are multiplied in one pass, where whole tokens exceed _L1_BYTES."""
_TOKENS_PER_PASS = 5
"""The sums of two rows with each of them fit into the registers."""


def small_batch_linear(x: Tensor, weights: Int8Weights) -> Tensor:
    """Return a linear layer's fp32 outputs, shape (n, out), for fp32 x of shape (n, in), quantized per token inside.

    The weights are read once for each five tokens.
    """
    y = torch.empty(len(x), len(weights[0]))
    _small_batch_linear(x.contiguous().numpy(), weights, y.numpy())
    return y


def small_batch_feed_forward(x: Tensor, fc1: Int8Weights, fc2: Int8Weights) -> Tensor:
    """Return small_batch_linear(gelu(small_batch_linear(x, fc1)), fc2), with the tanh form of GELU."""
    y = torch.empty(len(x), len(fc2[0]))
    _small_batch_feed_forward(x.contiguous().numpy(), fc1, fc2, y.numpy())
    return y


_multiply_1, _multiply_2, _multiply_3, _multiply_4, _multiply_5 = (
    vnni.multiply_rows(count) for count in range(1, _TOKENS_PER_PASS + 1)
)


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _add_remainder(weight: Any, tokens: Any, sums: Any, column: Any, start: Any) -> None:
    """Add the products of a row's weights from `start` on, plus 128 each, to its column of the sums."""
    for token in range(len(tokens)):
        for i in range(start, len(weight)):
            sums[token, column] += (np.int32(weight[i]) + np.int32(128)) * np.int32(tokens[token, i])


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _write_outputs(
    sums: Any, zero_point_correction: Any, token_scales: Any, channel_scales: Any, bias: Any, with_gelu: Any, y: Any
) -> None:
    for token in range(len(zero_point_correction)):
        outputs = y[token]
        for channel in range(len(bias)):
            product = np.float32(sums[token, channel] - zero_point_correction[token])
            outputs[channel] = product * (token_scales[token] * channel_scales[channel]) + bias[channel]
        if with_gelu:
            gelu_in_place(outputs)


@kernel(parallel=True, needs_vnni=True)
def multiply_small_batch(
    tokens: NDArray[np.int8], scales: NDArray[np.float32], weights: Int8Weights, with_gelu: bool, y: NDArray[np.float32]
) -> None:
    """Write a layer's outputs, or their GELU, into y (n, out), for quantized tokens and their scales; for kernels.

    Threads split the blocks of output channels.
    """
    weight, channel_scales, bias = weights
    num_tokens, length = tokens.shape
    num_rows = len(weight)
    num_vectors = length // vnni.vector_bytes()
    remainder = num_vectors * vnni.vector_bytes()
    chunk = length if min(num_tokens, _TOKENS_PER_PASS) * length <= _L1_BYTES else _CHUNK_BYTES
    vectors_per_chunk = max(1, chunk // vnni.vector_bytes())
    bytes_ahead = max(1, _PREFETCH_BYTES // chunk) * length
    # VPDPBUSD takes one unsigned operand, so 128 is added to the weights, and its share of the sums subtracted later.
    zero_point_correction = np.empty(num_tokens, np.int32)
    for token in range(num_tokens):
        numbers, total = tokens[token], np.int32(0)
        for i in range(length):
            total += np.int32(numbers[i])
        zero_point_correction[token] = np.int32(128) * total
    # Two rows at a time share each load of the tokens. They are half a matrix apart, because memory delivers two
    # streams in different pages faster than two in the same page.
    half = num_rows // 2
    for block in numba.prange((half + ROWS_IN_BLOCK - 1) // ROWS_IN_BLOCK):
        start_row, end_row = block * ROWS_IN_BLOCK, min((block + 1) * ROWS_IN_BLOCK, half)
        for begin in (start_row, start_row + half):
            vnni.prefetch_block(vnni.address(channel_scales, 4 * begin))
            vnni.prefetch_block(vnni.address(bias, 4 * begin))
        sums = np.zeros((2, num_tokens, ROWS_IN_BLOCK), np.int32)
        for first in range(0, num_vectors, vectors_per_chunk):
            count, start = min(vectors_per_chunk, num_vectors - first), first * vnni.vector_bytes()
            for row in range(start_row, end_row):
                row_address = vnni.address(weight[row, start:], 0)
                token = 0
                while token < num_tokens:
                    token_address = vnni.address(tokens[token, start:], 0)
                    sum_address = vnni.address(sums[0, token, row - start_row :], 0)
                    left = num_tokens - token
                    if left >= 5:
                        _multiply_5(
                            row_address, token_address, sum_address, half, length, num_tokens, count, bytes_ahead
                        )
                    elif left == 4:
                        _multiply_4(
                            row_address, token_address, sum_address, half, length, num_tokens, count, bytes_ahead
                        )
                    elif left == 3:
                        _multiply_3(
                            row_address, token_address, sum_address, half, length, num_tokens, count, bytes_ahead
                        )
                    elif left == 2:
                        _multiply_2(
                            row_address, token_address, sum_address, half, length, num_tokens, count, bytes_ahead
                        )
                    else:
                        _multiply_1(
                            row_address, token_address, sum_address, half, length, num_tokens, count, bytes_ahead
                        )
                    token += 5
        for part in range(2):
            begin, end = start_row + part * half, end_row + part * half
            for row in range(begin, end):
                _add_remainder(weight[row], tokens, sums[part], row - begin, remainder)
            block_scales, block_bias = channel_scales[begin:end], bias[begin:end]
            _write_outputs(
                sums[part], zero_point_correction, scales, block_scales, block_bias, with_gelu, y[:, begin:end]
            )
    if num_rows % 2 == 1:
        last = np.zeros((num_tokens, 1), np.int32)
        _add_remainder(weight[num_rows - 1], tokens, last, 0, 0)
        last_scale, last_bias = channel_scales[num_rows - 1 :], bias[num_rows - 1 :]
        _write_outputs(last, zero_point_correction, scales, last_scale, last_bias, with_gelu, y[:, num_rows - 1 :])


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def quantize_small_batch(x: Any) -> Any:
    """Return quantize_per_token(x, 127), on one thread; for kernels."""
    tokens, scales = np.empty(x.shape, np.int8), np.empty(len(x), np.float32)
    for token in range(len(x)):
        scales[token] = quantize_row(x[token], np.float32(QMAX), tokens[token])
    return tokens, scales


@on_torch_threads
@kernel(parallel=False, needs_vnni=True)
def _small_batch_linear(x: NDArray[np.float32], weights: Int8Weights, y: NDArray[np.float32]) -> None:
    tokens, scales = quantize_small_batch(x)
    multiply_small_batch(tokens, scales, weights, False, y)


@on_torch_threads
@kernel(parallel=False, needs_vnni=True)
def _small_batch_feed_forward(
    x: NDArray[np.float32], fc1: Int8Weights, fc2: Int8Weights, y: NDArray[np.float32]
) -> None:
    hidden = np.empty((len(x), len(fc1[0])), np.float32)
    tokens, scales = quantize_small_batch(x)
    multiply_small_batch(tokens, scales, fc1, True, hidden)
    tokens, scales = quantize_small_batch(hidden)
    multiply_small_batch(tokens, scales, fc2, False, y)
