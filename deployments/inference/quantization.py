"""Quantization, dequantization, and GELU between two int8 layers.

Quantization is symmetric: a number is about its quantized value times the scale. Weights have a scale per output
channel (a row of the matrix), activations a scale per token.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deployments.inference.jit import kernel, on_torch_threads
from deployments.inference.numba_math import FASTMATH, MIN_ABS_MAX, exp, quantize_row

QMAX = 127
"""The largest magnitude of a quantized number: -128 is not used."""
_ACTIVATIONS_SHARE = 0.7
_CHANNELS_PER_PASS = 1024
"""Channels that are converted to fp32 at a time. A whole embedding in fp32 would be the peak of memory while a model
loads."""


def quantize_per_channel(weight: Tensor, factors: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Quantize weights of shape (out, in) to int8 in [-127, 127]; return them and their fp32 scales, shape (out,).

    They are multiplied by `factors`, shape (in,), first (see `smooth`).
    """
    quantized, scales = torch.empty(weight.shape, dtype=torch.int8), torch.empty(len(weight))
    for start in range(0, len(weight), _CHANNELS_PER_PASS):
        channels = slice(start, start + _CHANNELS_PER_PASS)
        exact = weight[channels].float()
        if factors is not None:
            exact = exact * factors
        abs_max = exact.abs().amax(dim=1).clamp_(min=float(MIN_ABS_MAX))
        torch.div(abs_max, QMAX, out=scales[channels])
        quantized[channels].copy_((exact / scales[channels, None]).round_())
    return quantized, scales


def smooth(norm: nn.LayerNorm, weights: Sequence[Tensor]) -> Tensor:
    """Divide a layer norm's outputs by a factor for each channel, in place, and return the factors, shape (dim,).

    `weights` are those of the layers after the norm, shape (out, dim) each. Multiplied by the factors, these compute
    the same, but quantized more exactly: otherwise the few channels with large numbers set the scale of a token for
    all.

    The factors are those of SmoothQuant (Xiao et al. 2023, equation 4). The magnitudes in it come from the norm's
    weight and bias, because what it multiplies with its weight is about normal. A share of 0.7 for the activations
    gives Whisper base's encoder a smaller error than 0.3 to 0.6, 0.8 and 0.9.
    """
    weight, bias = norm.weight.detach().float(), norm.bias.detach().float()
    smallest = 1e-5
    magnitudes = (weight**2 + bias**2).sqrt().clamp(min=smallest)
    largest_weights = torch.stack([each.abs().amax(dim=0) for each in weights]).amax(dim=0).float().clamp(min=smallest)
    factors = magnitudes**_ACTIVATIONS_SHARE / largest_weights ** (1 - _ACTIVATIONS_SHARE)
    norm.weight, norm.bias = (nn.Parameter(part / factors, requires_grad=False) for part in (weight, bias))
    return factors


def quantize_per_token(x: Tensor, qmax: int) -> tuple[Tensor, Tensor]:
    """Quantize fp32 tokens of shape (n, in) to int8 in [-qmax, qmax]; return them and their scales, shape (n,)."""
    tokens, scales = torch.empty(x.shape, dtype=torch.int8), torch.empty(len(x))
    _quantize_per_token(x.contiguous().numpy(), np.float32(qmax), tokens.numpy(), scales.numpy())
    return tokens, scales


def dequantize(products: Tensor, token_scales: Tensor, channel_scales: Tensor, bias: Tensor) -> Tensor:
    """Return products * token_scales * channel_scales + bias in fp32, for products, int32 or fp32, of shape (n, out).

    `token_scales` has shape (n,), `channel_scales` and `bias` have shape (out,).
    """
    y = torch.empty(products.shape)
    _dequantize(products.numpy(), token_scales.numpy(), channel_scales.numpy(), bias.numpy(), y.numpy())
    return y


def gelu_quantize(
    products: Tensor, token_scales: Tensor, channel_scales: Tensor, bias: Tensor, qmax: int
) -> tuple[Tensor, Tensor]:
    """Return quantize_per_token(gelu(dequantize(...)), qmax), with the tanh form of GELU, in one pass.

    No fp32 matrix is written to memory.
    """
    tokens, scales = torch.empty(products.shape, dtype=torch.int8), torch.empty(len(products))
    arguments = (products, token_scales, channel_scales, bias)
    _gelu_quantize(*(part.numpy() for part in arguments), np.float32(qmax), tokens.numpy(), scales.numpy())
    return tokens, scales


@on_torch_threads
@kernel(parallel=True)
def _quantize_per_token(
    x: NDArray[np.float32], qmax: np.float32, tokens: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    for token in numba.prange(len(x)):
        scales[token] = quantize_row(x[token], qmax, tokens[token])


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def _dequantize_token(products: Any, token_scale: Any, channel_scales: Any, bias: Any, y: Any) -> None:
    for channel in range(len(bias)):
        y[channel] = np.float32(products[channel]) * (token_scale * channel_scales[channel]) + bias[channel]


@numba.njit(inline="always", fastmath=FASTMATH)  # type: ignore[untyped-decorator]
def gelu_in_place(y: Any) -> None:
    """Replace fp32 numbers by the tanh form of their GELU; for kernels.

    That is x * 0.5 (1 + tanh(u)), where u = sqrt(2 / pi) (x + 0.044715 x^3). As 0.5 (1 + tanh(u)) is
    1 / (1 + exp(-2u)), the factors are 2 sqrt(2 / pi), and 0.044715 times that.
    """
    for channel in range(len(y)):
        x = y[channel]
        y[channel] = x / (np.float32(1) + exp(-x * (np.float32(1.5957691216) + np.float32(0.0713548162726) * x * x)))


@on_torch_threads
@kernel(parallel=True)
def _dequantize(
    products: NDArray[np.int32],
    token_scales: NDArray[np.float32],
    channel_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    for token in numba.prange(len(products)):
        _dequantize_token(products[token], token_scales[token], channel_scales, bias, y[token])


@on_torch_threads
@kernel(parallel=True)
def _gelu_quantize(
    products: NDArray[np.int32],
    token_scales: NDArray[np.float32],
    channel_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
    qmax: np.float32,
    tokens: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> None:
    for token in numba.prange(len(products)):
        y = np.empty(len(bias), np.float32)
        _dequantize_token(products[token], token_scales[token], channel_scales, bias, y)
        gelu_in_place(y)
        scales[token] = quantize_row(y, qmax, tokens[token])
