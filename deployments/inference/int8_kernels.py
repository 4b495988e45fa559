"""The arithmetic of int8 layers, in loops of our own where torch has none or slow ones.

A token is one row of activations. `few_linear` and `few_feed_forward` are whole layers for a few tokens, as fast as
memory can deliver the weights. For many tokens a layer is made of `round_tokens`, a product of integer matrices, and
`scale_back` or `gelu_rounded`.
"""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.inference import vnni
from deployments.inference.compiled import FASTMATH, compiled, exp, on_torch_threads, round_row
from deployments.inference.vnni import ROWS_IN_BLOCK

Layer = tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]
"""Weights, shape (out, in), and the scales and biases of their rows."""

_PREFETCHED = 8192
"""Bytes ahead."""
_FIRST_LEVEL = 16384
"""Bytes of tokens that the first-level cache surely holds while weights run through it."""
_CHUNK = 2048
"""Bytes of each token that are multiplied at once, where whole ones are too many."""


def round_tokens(x: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Return int8 tokens in [-largest, largest] and their scales, shape (n,), for fp32 x of shape (n, in)."""
    rounded, scales = torch.empty(x.shape, dtype=torch.int8), torch.empty(len(x))
    _round_tokens(x.contiguous().numpy(), np.float32(largest), rounded.numpy(), scales.numpy())
    return rounded, scales


def few_linear(x: Tensor, layer: Layer) -> Tensor:
    """Return a linear layer's outputs in fp32, shape (n, out), for fp32 x of shape (n, in).

    Needs a CPU with VNNI. The weights are read once for each few tokens.
    """
    y = torch.empty(len(x), len(layer[0]))
    _few_linear(x.contiguous().numpy(), layer, y.numpy())
    return y


def few_feed_forward(x: Tensor, first: Layer, second: Layer) -> Tensor:
    """Return `few_linear` of the GELU of `few_linear` of x."""
    y = torch.empty(len(x), len(second[0]))
    _few_feed_forward(x.contiguous().numpy(), first, second, y.numpy())
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


_products_1, _products_2, _products_3, _products_4, _products_5 = (vnni.products(count) for count in range(1, 6))


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _add_products(weight: Any, tokens: Any, sums: Any, row: Any, start: Any) -> None:
    """Add to the sums of a row what its weights from `start` on, plus 128 each, give."""
    for token in range(len(tokens)):
        for i in range(start, len(weight)):
            sums[token, row] += (np.int32(weight[i]) + np.int32(128)) * np.int32(tokens[token, i])


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _finish(sums: Any, excess: Any, token_scales: Any, row_scales: Any, bias: Any, with_gelu: Any, y: Any) -> None:
    """Write the outputs of some rows."""
    for token in range(len(excess)):
        of_token = y[token]
        for row in range(len(bias)):
            product = np.float32(sums[token, row] - excess[token])
            of_token[row] = product * (token_scales[token] * row_scales[row]) + bias[row]
        if with_gelu:
            _gelu(of_token)


@compiled(parallel=True, is_prepared=vnni.IS_THERE)
def multiply_few(
    tokens: NDArray[np.int8], scales: NDArray[np.float32], layer: Layer, with_gelu: bool, y: NDArray[np.float32]
) -> None:
    """Write the outputs, or their GELU, shape (n, out), for tokens and their scales; for compiled functions."""
    weight, row_scales, bias = layer
    num_tokens, length = tokens.shape
    num_rows = len(weight)
    num_vectors = length // vnni.WIDTH
    left_over = num_vectors * vnni.WIDTH
    chunk = length if min(num_tokens, 5) * length <= _FIRST_LEVEL else _CHUNK
    in_chunk = max(1, chunk // vnni.WIDTH)
    rows_ahead = max(1, _PREFETCHED // chunk) * length
    # VPDPBUSD multiplies unsigned with signed bytes, so weights are taken plus 128, and what that adds is taken off.
    excess = np.empty(num_tokens, np.int32)
    for token in range(num_tokens):
        of_token, total = tokens[token], np.int32(0)
        for i in range(length):
            total += np.int32(of_token[i])
        excess[token] = np.int32(128) * total
    # Two rows at once share what is read of the tokens. They are far apart because memory delivers two streams in
    # different pages faster than two in one.
    half = num_rows // 2
    for block in numba.prange((half + ROWS_IN_BLOCK - 1) // ROWS_IN_BLOCK):
        start_row, end_row = block * ROWS_IN_BLOCK, min((block + 1) * ROWS_IN_BLOCK, half)
        for begin in (start_row, start_row + half):
            vnni.ask_for_rows(vnni.address(row_scales, 4 * begin))
            vnni.ask_for_rows(vnni.address(bias, 4 * begin))
        sums = np.zeros((2, num_tokens, ROWS_IN_BLOCK), np.int32)
        for first in range(0, num_vectors, in_chunk):
            here, start = min(in_chunk, num_vectors - first), first * vnni.WIDTH
            for row in range(start_row, end_row):
                weights = vnni.address(weight[row, start:], 0)
                token = 0
                while token < num_tokens:
                    those = vnni.address(tokens[token, start:], 0)
                    found = vnni.address(sums[0, token, row - start_row :], 0)
                    left = num_tokens - token
                    if left >= 5:
                        _products_5(weights, those, found, half, length, num_tokens, here, rows_ahead)
                    elif left == 4:
                        _products_4(weights, those, found, half, length, num_tokens, here, rows_ahead)
                    elif left == 3:
                        _products_3(weights, those, found, half, length, num_tokens, here, rows_ahead)
                    elif left == 2:
                        _products_2(weights, those, found, half, length, num_tokens, here, rows_ahead)
                    else:
                        _products_1(weights, those, found, half, length, num_tokens, here, rows_ahead)
                    token += 5
        for part in range(2):
            begin, end = start_row + part * half, end_row + part * half
            for row in range(begin, end):
                _add_products(weight[row], tokens, sums[part], row - begin, left_over)
            its_scales, its_bias = row_scales[begin:end], bias[begin:end]
            _finish(sums[part], excess, scales, its_scales, its_bias, with_gelu, y[:, begin:end])
    if num_rows % 2 == 1:
        last = np.zeros((num_tokens, 1), np.int32)
        _add_products(weight[num_rows - 1], tokens, last, 0, 0)
        its_scales, its_bias = row_scales[num_rows - 1 :], bias[num_rows - 1 :]
        _finish(last, excess, scales, its_scales, its_bias, with_gelu, y[:, num_rows - 1 :])


@numba.njit(fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def round_few(x: Any) -> Any:
    """Return what `round_tokens` does, for compiled functions."""
    tokens, scales = np.empty(x.shape, np.int8), np.empty(len(x), np.float32)
    for token in range(len(x)):
        scales[token] = round_row(x[token], np.float32(127), tokens[token])
    return tokens, scales


@on_torch_threads
@compiled(parallel=False, is_prepared=vnni.IS_THERE)
def _few_linear(x: NDArray[np.float32], layer: Layer, y: NDArray[np.float32]) -> None:
    tokens, scales = round_few(x)
    multiply_few(tokens, scales, layer, False, y)


@on_torch_threads
@compiled(parallel=False, is_prepared=vnni.IS_THERE)
def _few_feed_forward(x: NDArray[np.float32], first: Layer, second: Layer, y: NDArray[np.float32]) -> None:
    inner = np.empty((len(x), len(first[0])), np.float32)
    tokens, scales = round_few(x)
    multiply_few(tokens, scales, first, True, inner)
    tokens, scales = round_few(inner)
    multiply_few(tokens, scales, second, False, y)
