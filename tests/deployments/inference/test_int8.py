import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deployments.inference.int8 import (
    Int8Embedding,
    Int8FeedForward,
    Int8Kernel,
    Int8Linear,
    OneDnnKernel,
    choose_kernel,
    round_rows,
)
from deployments.inference.int8_kernels import few_linear

OF_THIS_CPU = choose_kernel(torch.cpu.get_capabilities())
needs_vnni = pytest.mark.skipif(OF_THIS_CPU.few_tokens == 0, reason="the processor has no VNNI")
KERNELS = [OF_THIS_CPU, OneDnnKernel(has_dot_products=False)]


def _layers(kernel: Int8Kernel, inputs: int = 256, outputs: int = 192) -> tuple[nn.Linear, Int8Linear]:
    torch.manual_seed(1)
    exact = nn.Linear(inputs, outputs).requires_grad_(False)
    return exact, Int8Linear(*round_rows(exact.weight), exact.bias, kernel)


def _error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("num_tokens", [1, 5, 300])
def test_a_layer_is_rounded_and_no_more(num_tokens: int, kernel: Int8Kernel) -> None:
    exact, rounded = _layers(kernel)
    x = torch.randn(num_tokens, 256)
    assert 0.001 < _error(rounded(x), exact(x)) < 0.03
    assert rounded(x[None]).shape == (1, num_tokens, 192)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_a_token_with_huge_values_costs_its_neighbours_nothing(kernel: Int8Kernel) -> None:
    _, rounded = _layers(kernel)
    x = torch.randn(9, 256)
    alone = torch.cat([rounded(token[None]) for token in x])
    assert torch.equal(rounded(x), alone)
    x[4, 7] = 1e4
    beside_an_outlier = rounded(x)
    others = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(beside_an_outlier[others], alone[others])


@needs_vnni
@pytest.mark.parametrize("length", [1, 63, 8192])
@pytest.mark.parametrize("num_rows", [1, 2, 9, 130])
def test_few_tokens_are_multiplied_exactly(length: int, num_rows: int) -> None:
    weight = torch.randint(-127, 128, (num_rows, length), dtype=torch.int8)
    weight[0], weight[-1] = 127, -127
    tokens = torch.randint(-127, 128, (7, length))
    tokens[:, 0] = 127  # so that rounding leaves them as they are
    tokens[3], tokens[4] = 127, -127
    layer = weight.numpy(), torch.ones(num_rows).numpy(), torch.zeros(num_rows).numpy()
    found = few_linear(tokens.float(), layer)
    assert torch.equal(found, (tokens @ weight.long().T).float())


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_largest_products_do_not_saturate(kernel: Int8Kernel) -> None:
    layer = Int8Linear(torch.full((8, 64), 127, dtype=torch.int8), torch.ones(8), torch.zeros(8), kernel)
    torch.testing.assert_close(layer(torch.ones(2, 64)), torch.full((2, 8), 64 * 127.0))
    torch.testing.assert_close(layer(-torch.ones(2, 64)), torch.full((2, 8), -64 * 127.0))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("num_tokens", [1, 6, 33])
@pytest.mark.parametrize(("inputs", "inner"), [(256, 512), (37, 65)])
def test_a_feed_forward_block_is_rounded_and_no_more(
    inputs: int, inner: int, num_tokens: int, kernel: Int8Kernel
) -> None:
    torch.manual_seed(1)
    exact = [nn.Linear(inputs, inner).requires_grad_(False), nn.Linear(inner, inputs).requires_grad_(False)]
    rounded = Int8FeedForward(*(Int8Linear(*round_rows(layer.weight), layer.bias, kernel) for layer in exact))
    x = 3 * torch.randn(num_tokens, inputs)
    expected = exact[1](nn.functional.gelu(exact[0](x), approximate="tanh"))
    assert 0.001 < _error(rounded(x), expected) < 0.05


def test_what_is_no_number_stays_none() -> None:
    _, rounded = _layers(OF_THIS_CPU)
    for num_tokens in (2, 40):
        x = torch.randn(num_tokens, 256)
        x[0, 3] = torch.nan
        y = rounded(x)
        assert y[0].isnan().all()
        assert not y[1:].isnan().any()


def test_zeros_give_the_bias() -> None:
    exact, rounded = _layers(OF_THIS_CPU)
    torch.testing.assert_close(rounded(torch.zeros(2, 256)), exact.bias.expand(2, -1))
    blank = Int8Linear(*round_rows(torch.zeros(8, 64)), torch.ones(8), OF_THIS_CPU)
    torch.testing.assert_close(blank(torch.randn(2, 64)), torch.ones(2, 8))


def test_an_embedding_is_rounded_row_by_row() -> None:
    rows = torch.randn(10, 64) * torch.logspace(-3, 3, 10)[:, None]
    embedding = Int8Embedding(*round_rows(rows))
    ids = torch.tensor([[9, 0], [3, 3]])
    assert embedding(ids).shape == (2, 2, 64)
    for row in range(10):
        assert _error(embedding(torch.tensor([row]))[0], rows[row]) < 0.02


@pytest.mark.parametrize(
    ("capabilities", "kernel"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_vnni": True}, "VNNI"),
        ({"avx2": True, "avx_vnni": True}, "VNNI"),
        ({"avx2": True}, "oneDNN, 7-bit activations"),
        ({"avx2": True, "avx512_f": True}, "oneDNN, 7-bit activations"),
        ({"neon": True, "dot": True}, "oneDNN"),
    ],
)
def test_the_kernel_is_chosen_by_what_the_cpu_offers(
    capabilities: dict[str, bool], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.inference.int8._is_exact", lambda kernel: True)
    assert choose_kernel(capabilities).name == kernel


def test_without_vnni_seven_bits_are_exact() -> None:
    """oneDNN is held to AVX2, as it would be on an older CPU."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "7-bit"],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout


def _run(script: str, **environment: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@needs_vnni
def test_a_kernel_that_is_not_exact_is_not_chosen() -> None:
    script = """
from deployments.inference.int8 import choose_kernel
assert choose_kernel({"avx512_vnni": True}).name == "oneDNN, 7-bit activations"
assert choose_kernel({"dot": True}).name == "oneDNN, 7-bit activations"
"""
    _run(script, ONEDNN_MAX_CPU_ISA="AVX2")


def test_loops_are_compiled_by_another_process_once(tmp_path: Path) -> None:
    script = """
from unittest import mock

import torch
from deployments.inference import compiled, preparation
from deployments.inference.int8 import Int8FeedForward, Int8Linear, Int8ParallelBlock, choose_kernel
from deployments.inference.cache import Int8Cache

kernel = choose_kernel(torch.cpu.get_capabilities())
layer = Int8Linear(torch.ones(64, 64, dtype=torch.int8), torch.ones(64), torch.ones(64), kernel)
for num_tokens in (1, 40):
    Int8FeedForward(layer, layer)(layer(torch.ones(num_tokens, 64)))
cache = Int8Cache((3, 2, 40, 16))
cache.write(1, *torch.ones(2, 5, 2, 16))
Int8Cache.append_and_attend([cache], 1, *torch.ones(3, 1, 2, 16), (torch.ones(1, 1, 4), torch.ones(1, 1, 4)))
Int8Cache.attend([cache], 1, torch.ones(1, 2, 16))
if kernel.few_tokens:
    qkv = Int8Linear(torch.ones(128, 64, dtype=torch.int8), torch.ones(128), torch.ones(128), kernel)
    norm = torch.nn.LayerNorm(64).requires_grad_(False)
    block = Int8ParallelBlock(norm, qkv, layer, Int8FeedForward(layer, layer), 2)
    block(torch.ones(1, 64), [cache], 1, (torch.ones(1, 1, 4), torch.ones(1, 1, 4)))
stats = [loop.stats for loop in compiled.LOOPS]
assert sum(sum(of_loop.cache_hits.values()) for of_loop in stats) >= 5
assert not any(any(of_loop.cache_misses.values()) for of_loop in stats)
def refuse(*arguments, **options):
    raise AssertionError("compiled again")
run = preparation.subprocess.run
preparation.subprocess.run = refuse
preparation.ensure_compiled()

# A power failure, and a child that cannot be started: it is compiled here.
index = compiled.Path(compiled.LOOPS[0]._cache._cache_file._index_path)
index.write_bytes(b"")
def fail(*arguments, **options):
    raise OSError("no memory")
preparation.subprocess.run = fail
preparation.ensure_compiled()
assert not index.exists()

# A child whose loops are not kept.
preparation.subprocess.run = lambda command, **options: run(["true"], **options)
with mock.patch.object(preparation.logger, "warning") as warning:
    preparation.ensure_compiled()
assert "but not kept" in str(warning.call_args)
"""
    _run(script, NUMBA_CACHE_DIR=str(tmp_path))


@needs_vnni
def test_layers_for_few_tokens_are_right_in_registers_of_256_bits(tmp_path: Path) -> None:
    """As on CPUs with AVX-VNNI only."""
    script = """
import torch
torch.cpu.get_capabilities = lambda: {"avx_vnni": True}
from deployments.inference import int8_kernels, vnni
assert vnni.WIDTH == 32
weight = torch.randint(-127, 128, (7, 200), dtype=torch.int8)
x = torch.randint(-127, 128, (6, 200)).float()
x[:, 0] = 127  # so that rounding leaves them as they are
layer = weight.numpy(), torch.ones(7).numpy(), torch.zeros(7).numpy()
torch.testing.assert_close(int8_kernels.few_linear(x, layer), x @ weight.T.float(), rtol=1e-5, atol=0.1)
"""
    _run(script, NUMBA_CACHE_DIR=str(tmp_path))
