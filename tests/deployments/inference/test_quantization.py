"""Each function is compared with its definition in numpy."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from deployments.inference.quantization import (
    dequantize,
    gelu_quantize,
    quantize_per_channel,
    quantize_per_token,
    smooth,
)

LENGTHS = [1, 63, 256, 8193]


def _quantize_row(row: NDArray[np.float32], qmax: int) -> tuple[NDArray[np.int8], np.float32]:
    abs_max = np.float32(max(np.abs(row).max(), np.float32(1e-30)))
    quantized = np.rint(row * (np.float32(qmax) / abs_max)).astype(np.int8)
    return quantized, abs_max / np.float32(qmax)


@pytest.mark.parametrize("qmax", [127, 63])
@pytest.mark.parametrize("length", LENGTHS)
def test_quantize_per_token_is_bit_equal_to_numpy(length: int, qmax: int) -> None:
    torch.manual_seed(1)
    x = torch.randn(9, length) * torch.logspace(-20, 20, 9)[:, None]
    x[3] = 0
    tokens, scales = quantize_per_token(x, qmax)
    for row, quantized, scale in zip(x.numpy(), tokens.numpy(), scales.numpy(), strict=True):
        expected, expected_scale = _quantize_row(row, qmax)
        assert np.array_equal(quantized, expected)
        np.testing.assert_array_max_ulp(scale, expected_scale, maxulp=1)


def test_quantize_per_channel_is_bit_equal_to_numpy() -> None:
    weight = torch.randn(2050, 64, dtype=torch.bfloat16)
    quantized, scales = quantize_per_channel(weight)
    exact = weight.float().numpy()
    expected_scales = np.abs(exact).max(axis=1) / np.float32(127)
    assert np.array_equal(scales.numpy(), expected_scales)
    assert np.array_equal(quantized.numpy(), np.rint(exact / expected_scales[:, None]).astype(np.int8))


def _products(num_tokens: int, num_channels: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    products = torch.randint(-1_000_000, 1_000_000, (num_tokens, num_channels)).to(dtype)
    return products, torch.rand(num_tokens) / 1000, torch.rand(num_channels) / 1000, torch.randn(num_channels)


def _dequantized(arguments: tuple[torch.Tensor, ...]) -> NDArray[np.float64]:
    products, token_scales, channel_scales, bias = (part.numpy() for part in arguments)
    scales = token_scales[:, None] * channel_scales  # fp32
    return products.astype(np.float64) * scales.astype(np.float64) + bias


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
@pytest.mark.parametrize("num_channels", LENGTHS)
def test_dequantize_rounds_the_exact_sum_once(num_channels: int, dtype: torch.dtype) -> None:
    arguments = _products(5, num_channels, dtype)
    y = dequantize(*arguments).numpy()
    np.testing.assert_allclose(y, _dequantized(arguments), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
@pytest.mark.parametrize("qmax", [127, 63])
@pytest.mark.parametrize("num_channels", LENGTHS)
def test_gelu_quantize_is_gelu_and_quantization_to_one_step(num_channels: int, qmax: int, dtype: torch.dtype) -> None:
    arguments = _products(5, num_channels, dtype)
    y = _dequantized(arguments)
    activated = y * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    tokens, scales = gelu_quantize(*arguments, qmax)
    for row, quantized, scale in zip(activated.astype(np.float32), tokens.numpy(), scales.numpy(), strict=True):
        expected, expected_scale = _quantize_row(row, qmax)
        np.testing.assert_allclose(scale, expected_scale, rtol=2e-6)
        difference = np.abs(quantized.astype(int) - expected)
        assert difference.max() <= 1
        assert np.mean(difference != 0) < 0.001


def _norm_and_layers() -> tuple[nn.LayerNorm, list[nn.Linear]]:
    """Return a norm with one channel that is 50 times as large as the others, and two layers after it."""
    torch.manual_seed(3)
    norm = nn.LayerNorm(64).requires_grad_(False)
    norm.weight[5], norm.bias[9] = 50, 3
    return norm, [nn.Linear(64, 32).requires_grad_(False) for _ in range(2)]


def _smoothed(norm: nn.LayerNorm, layers: list[nn.Linear]) -> list[nn.Linear]:
    """Return the layers with the weights that `quantize_per_channel` quantizes."""
    factors = smooth(norm, [layer.weight for layer in layers])
    smoothed = []
    for layer in layers:
        smoothed.append(copy.deepcopy(layer))
        smoothed[-1].weight.mul_(factors)
        quantized, scales = quantize_per_channel(layer.weight, factors)
        assert all(map(torch.equal, quantize_per_channel(smoothed[-1].weight), (quantized, scales)))
    return smoothed


def test_smoothed_layers_compute_the_same() -> None:
    norm, layers = _norm_and_layers()
    x = torch.randn(20, 64)
    before = [layer(norm(x)) for layer in layers]
    for layer, expected in zip(_smoothed(norm, layers), before, strict=True):
        torch.testing.assert_close(layer(norm(x)), expected, atol=1e-4, rtol=1e-4)


def test_smoothed_layers_are_quantized_more_exactly() -> None:
    norm, layers = _norm_and_layers()
    x = torch.randn(20, 64)
    exact = layers[0](norm(x))

    def error(layer: nn.Linear) -> float:
        tokens, token_scales = quantize_per_token(norm(x), 127)
        weight, scales = quantize_per_channel(layer.weight)
        products = tokens.int() @ weight.int().T
        return float((dequantize(products, token_scales, scales, layer.bias) - exact).norm() / exact.norm())

    before = error(layers[0])
    assert error(_smoothed(norm, layers)[0]) < before / 2


def test_a_channel_without_magnitude_or_weight_can_be_smoothed() -> None:
    norm, layers = _norm_and_layers()
    norm.weight[0] = 0
    layers[0].weight[:, 1], layers[1].weight[:, 1] = 0, 0
    assert all(layer(norm(torch.randn(3, 64))).isfinite().all() for layer in _smoothed(norm, layers))
