import pytest
import torch
from torch import Tensor, nn

from deployments.inference.int8_layers import Int8Embedding, Int8FeedForward, Int8Linear
from deployments.inference.int8_matmul import Int8Kernel, OneDnnKernel, choose_kernel
from deployments.inference.quantization import quantize_per_channel

DEFAULT = choose_kernel("auto", torch.cpu.get_capabilities())
KERNELS = [
    DEFAULT,
    *([choose_kernel("onednn", torch.cpu.get_capabilities())] if DEFAULT.name == "VNNI" else []),
    OneDnnKernel(has_dot_products=False),
]


def _layers(kernel: Int8Kernel, inputs: int = 256, outputs: int = 192) -> tuple[nn.Linear, Int8Linear]:
    torch.manual_seed(1)
    exact = nn.Linear(inputs, outputs).requires_grad_(False)
    return exact, Int8Linear(*quantize_per_channel(exact.weight), exact.bias, kernel)


def _error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("num_tokens", [1, 5, 300])
def test_a_layer_has_the_error_of_quantization_and_no_other(num_tokens: int, kernel: Int8Kernel) -> None:
    exact, quantized = _layers(kernel)
    x = torch.randn(num_tokens, 256)
    assert 0.001 < _error(quantized(x), exact(x)) < 0.03
    assert quantized(x[None]).shape == (1, num_tokens, 192)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_an_outlier_token_does_not_change_the_others(kernel: Int8Kernel) -> None:
    _, quantized = _layers(kernel)
    x = torch.randn(9, 256)
    alone = torch.cat([quantized(token[None]) for token in x])
    assert torch.equal(quantized(x), alone)
    x[4, 7] = 1e4
    with_outlier = quantized(x)
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(with_outlier[others], alone[others])


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_products_of_the_largest_numbers_do_not_saturate(kernel: Int8Kernel) -> None:
    layer = Int8Linear(torch.full((8, 64), 127, dtype=torch.int8), torch.ones(8), torch.zeros(8), kernel)
    torch.testing.assert_close(layer(torch.ones(2, 64)), torch.full((2, 8), 64 * 127.0))
    torch.testing.assert_close(layer(-torch.ones(2, 64)), torch.full((2, 8), -64 * 127.0))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("num_tokens", [1, 6, 33])
@pytest.mark.parametrize(("inputs", "inner"), [(256, 512), (37, 65)])
def test_a_feed_forward_block_has_the_error_of_quantization_and_no_other(
    inputs: int, inner: int, num_tokens: int, kernel: Int8Kernel
) -> None:
    torch.manual_seed(1)
    exact = [nn.Linear(inputs, inner).requires_grad_(False), nn.Linear(inner, inputs).requires_grad_(False)]
    quantized = Int8FeedForward(
        *(Int8Linear(*quantize_per_channel(layer.weight), layer.bias, kernel) for layer in exact)
    )
    x = 3 * torch.randn(num_tokens, inputs)
    expected = exact[1](nn.functional.gelu(exact[0](x), approximate="tanh"))
    assert 0.001 < _error(quantized(x), expected) < 0.05


def test_nan_in_gives_nan_out_and_only_for_its_token() -> None:
    _, quantized = _layers(DEFAULT)
    for num_tokens in (2, 40):
        x = torch.randn(num_tokens, 256)
        x[0, 3] = torch.nan
        y = quantized(x)
        assert y[0].isnan().all()
        assert not y[1:].isnan().any()


def test_a_token_or_a_weight_of_zeros_gives_the_bias() -> None:
    exact, quantized = _layers(DEFAULT)
    torch.testing.assert_close(quantized(torch.zeros(2, 256)), exact.bias.expand(2, -1))
    blank = Int8Linear(*quantize_per_channel(torch.zeros(8, 64)), torch.ones(8), DEFAULT)
    torch.testing.assert_close(blank(torch.randn(2, 64)), torch.ones(2, 8))


def test_an_embedding_has_a_scale_per_row() -> None:
    rows = torch.randn(10, 64) * torch.logspace(-3, 3, 10)[:, None]
    embedding = Int8Embedding(*quantize_per_channel(rows))
    ids = torch.tensor([[9, 0], [3, 3]])
    assert embedding(ids).shape == (2, 2, 64)
    for row in range(10):
        assert _error(embedding(torch.tensor([row]))[0], rows[row]) < 0.02
