"""The arithmetic of int8 layers, in loops of our own where torch has none or slow ones.

A token is one row of activations. `few_linear` and `few_feed_forward` are whole layers for a few tokens, as fast as
memory can deliver the weights. For many tokens a layer is made of `round_tokens`, a product of integer matrices, and
`scale_back` or `gelu_rounded`.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference import vnni
from deployments.inference.compiled import FASTMATH, compiled, exp, on_torch_threads, round_row

_PREFETCHED = 8192
"""Bytes ahead."""
_FIRST_LEVEL = 16384
"""Bytes of tokens that the first-level cache surely holds while weights run through it."""
_CHUNK = 4096
"""Bytes of each token that are multiplied at once, where whole ones are too many."""
_BLOCK = 32
"""Pairs of rows that are multiplied with a chunk before it is the next one's turn."""


def round_tokens(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Return int8 tokens in [-largest, largest] and their scales, shape (n,), for fp32 x of shape (n, in)."""
    rounded, scales = torch.empty(x.shape, dtype=torch.int8), torch.empty(len(x))
    _round_tokens(x.contiguous().numpy(), np.float32(largest), rounded.numpy(), scales.numpy())
    return rounded, scales


def sum_rows(weight: Tensor) -> Tensor:
    """Return the sums of the rows of int8 weights in int32, as torch does, but without a copy of them in int32."""
    sums = torch.empty(len(weight), dtype=torch.int32)
    _sum_rows(weight.contiguous().numpy(), sums.numpy())
    return sums


def few_linear(x: Tensor, weight: Tensor, row_sums: Tensor, row_scales: Tensor, bias: Tensor) -> Tensor:
    """Return a linear layer's outputs in fp32, shape (n, out), for fp32 x (n, in) and int8 weights (out, in).

    `row_sums` are what `sum_rows` returns. Needs a CPU with VNNI. The weights are read once for each few tokens.
    """
    y = torch.empty(len(x), len(weight))
    _few_linear(*(part.numpy() for part in (x.contiguous(), weight, row_sums, row_scales, bias, y)))
    return y


def few_feed_forward(x: Tensor, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Return `few_linear` of the GELU of `few_linear` of x, given what that takes of both layers."""
    y = torch.empty(len(x), len(second[0]))
    _few_feed_forward(*(part.numpy() for part in (x.contiguous(), *first, *second, y)))
    return y


def scale_back(sums: Tensor, token_scales: Tensor, row_scales: Tensor, bias: Tensor) -> Tensor:
    """Return sums * token_scales * row_scales + bias in fp32, for sums of shape (n, out)."""
    y = torch.empty(sums.shape)
    _scale_back(sums.numpy(), token_scales.numpy(), row_scales.numpy(), bias.numpy(), y.numpy())
    return y


def gelu_rounded(
    sums: Tensor, token_scales: Tensor, row_scales: Tensor, bias: Tensor, largest: int
) -> tuple[Tensor, Tensor]:
    """Return `round_tokens` of the tanh form of GELU of what `scale_back` returns."""
    rounded, scales = torch.empty(sums.shape, dtype=torch.int8), torch.empty(len(sums))
    arguments = (sums, token_scales, row_scales, bias)
    _gelu_rounded(*(part.numpy() for part in arguments), np.float32(largest), rounded.numpy(), scales.numpy())
    return rounded, scales


@on_torch_threads
@compiled(parallel=True)
def _round_tokens(
    x: NDArray[np.float32], largest: np.float32, rounded: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    for token in numba.prange(len(x)):
        scales[token] = round_row(x[token], largest, rounded[token])


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _scale_back_token(sums: Any, scale: Any, row_scales: Any, bias: Any, y: Any) -> None:
    for row in range(len(bias)):
        y[row] = np.float32(sums[row]) * (scale * row_scales[row]) + bias[row]


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _gelu(y: Any) -> None:
    """Replace y by the tanh form of its GELU.

    0.5 (1 + tanh(u)) is 1 / (1 + exp(-2u)); the factors are 2 sqrt(2 / pi), and 0.044715 of that.
    """
    for row in range(len(y)):
        x = y[row]
        y[row] = x / (np.float32(1) + exp(-x * (np.float32(1.5957691216) + np.float32(0.0713548162726) * x * x)))


@on_torch_threads
@compiled(parallel=True)
def _scale_back(
    sums: NDArray[np.int32],
    token_scales: NDArray[np.float32],
    row_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    for token in numba.prange(len(sums)):
        _scale_back_token(sums[token], token_scales[token], row_scales, bias, y[token])


@on_torch_threads
@compiled(parallel=True)
def _gelu_rounded(
    sums: NDArray[np.int32],
    token_scales: NDArray[np.float32],
    row_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    largest: np.float32,
    rounded: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> None:
    for token in numba.prange(len(sums)):
        y = np.empty(len(bias), np.float32)
        _scale_back_token(sums[token], token_scales[token], row_scales, bias, y)
        _gelu(y)
        scales[token] = round_row(y, largest, rounded[token])


@on_torch_threads
@compiled(parallel=True)
def _sum_rows(weight: NDArray[np.int8], sums: NDArray[np.int32]) -> None:
    for row in numba.prange(len(weight)):
        total = np.int32(0)
        of_row = weight[row]
        for i in range(len(of_row)):
            total += np.int32(of_row[i])
        sums[row] = total


_products_1, _products_2, _products_3, _products_4, _products_5 = (vnni.products(count) for count in range(1, 6))


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _add_products(weight: Any, x: Any, sums: Any, row: Any, start: Any) -> None:
    """Add to the sums of a row what its weights from `start` on give."""
    for token in range(len(x)):
        for i in range(start, len(weight)):
            sums[token, row] += np.int32(weight[i]) * np.int32(x[token, i])


@compiled(parallel=True, is_prepared=vnni.IS_THERE)
def _products_of_few(weight: NDArray[np.int8], x: NDArray[np.uint8], sums: NDArray[np.int32]) -> None:
    """Add to `sums`, shape (n, out), the products of the weights, shape (out, in), with each token."""
    num_tokens, length = x.shape
    num_rows = len(weight)
    num_vectors = length // vnni.WIDTH
    left_over = num_vectors * vnni.WIDTH
    chunk = length if min(num_tokens, 5) * length <= _FIRST_LEVEL else _CHUNK
    in_chunk = max(1, chunk // vnni.WIDTH)
    rows_ahead = max(1, _PREFETCHED // chunk) * length
    # Two rows at once share what is read of the tokens. They are far apart because memory delivers two streams in
    # different pages faster than two in one.
    half = num_rows // 2
    for block in numba.prange((half + _BLOCK - 1) // _BLOCK):
        for first in range(0, num_vectors, in_chunk):
            here, start = min(in_chunk, num_vectors - first), first * vnni.WIDTH
            for row in range(block * _BLOCK, min((block + 1) * _BLOCK, half)):
                weights = vnni.address(weight[row, start:], 0)
                token = 0
                while token < num_tokens:
                    tokens, found = vnni.address(x[token, start:], 0), vnni.address(sums[token, row:], 0)
                    left = num_tokens - token
                    if left >= 5:
                        _products_5(weights, tokens, found, half, length, num_rows, here, rows_ahead)
                    elif left == 4:
                        _products_4(weights, tokens, found, half, length, num_rows, here, rows_ahead)
                    elif left == 3:
                        _products_3(weights, tokens, found, half, length, num_rows, here, rows_ahead)
                    elif left == 2:
                        _products_2(weights, tokens, found, half, length, num_rows, here, rows_ahead)
                    else:
                        _products_1(weights, tokens, found, half, length, num_rows, here, rows_ahead)
                    token += 5
        for row in range(block * _BLOCK, min((block + 1) * _BLOCK, half)):
            _add_products(weight[row], x, sums, row, left_over)
            _add_products(weight[row + half], x, sums, row + half, left_over)
    if num_rows % 2 == 1:
        _add_products(weight[num_rows - 1], x, sums, num_rows - 1, 0)


@compiled(parallel=False, is_prepared=vnni.IS_THERE)
def _linear_of_few(
    x: NDArray[np.float32],
    weight: NDArray[np.int8],
    row_sums: NDArray[np.int32],
    row_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    rounded, tokens = np.empty(x.shape, np.int8), np.empty(x.shape, np.uint8)
    scales, sums = np.empty(len(x), np.float32), np.zeros(y.shape, np.int32)
    for token in range(len(x)):
        scales[token] = round_row(x[token], np.float32(127), rounded[token])
        of_token, unsigned = rounded[token], tokens[token]
        # VPDPBUSD multiplies unsigned with signed bytes, so 128 is added, and 128 times the weights taken off again.
        for i in range(len(of_token)):
            unsigned[i] = np.uint8(np.int32(of_token[i]) + np.int32(128))
    _products_of_few(weight, tokens, sums)
    for token in range(len(x)):
        of_sums = sums[token]
        for row in range(len(row_sums)):
            of_sums[row] -= np.int32(128) * row_sums[row]
        _scale_back_token(sums[token], scales[token], row_scales, bias, y[token])


_few_linear = on_torch_threads(_linear_of_few)


@on_torch_threads
@compiled(parallel=False, is_prepared=vnni.IS_THERE)
def _few_feed_forward(
    x: NDArray[np.float32],
    weight_1: NDArray[np.int8],
    row_sums_1: NDArray[np.int32],
    row_scales_1: NDArray[np.float32],
    bias_1: NDArray[np.float32],
    weight_2: NDArray[np.int8],
    row_sums_2: NDArray[np.int32],
    row_scales_2: NDArray[np.float32],
    bias_2: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    inner = np.empty((len(x), len(bias_1)), np.float32)
    _linear_of_few(x, weight_1, row_sums_1, row_scales_1, bias_1, inner)
    for token in range(len(x)):
        _gelu(inner[token])
    _linear_of_few(inner, weight_2, row_sums_2, row_scales_2, bias_2, y)
