import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.errors import ModelNotLoaded
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.int8_matmul import Int8Matmul, OneDnnMatmul, VnniMatmul, choose_matmul
from deployments.inference.small_batch import small_batch_feed_forward, small_batch_linear
from deployments.settings import KernelChoice

HAS_VNNI = bool(local_vnni_vector_bytes())
needs_vnni = pytest.mark.skipif(not HAS_VNNI, reason="the CPU has no VNNI")
MATMULS: list[Int8Matmul] = [
    *([VnniMatmul(), OneDnnMatmul(sums_in_32_bits=True)] if HAS_VNNI else []),
    OneDnnMatmul(sums_in_32_bits=False),
]


@pytest.mark.parametrize("matmul", MATMULS, ids=lambda matmul: matmul.name)
@pytest.mark.parametrize(("num_tokens", "length", "num_rows"), [(1, 64, 64), (33, 256, 130), (300, 1024, 96)])
def test_products_are_bit_equal_to_numpy(matmul: Int8Matmul, num_tokens: int, length: int, num_rows: int) -> None:
    num_tokens = max(num_tokens, matmul.max_small_batch + 1)  # Smaller batches use small_batch_linear.
    torch.manual_seed(1)
    weight = torch.randint(-127, 128, (num_rows, length), dtype=torch.int8)
    tokens = torch.randint(-matmul.qmax, matmul.qmax + 1, (num_tokens, length), dtype=torch.int8)
    weight[0], weight[-1], tokens[0] = 127, -127, matmul.qmax
    products = matmul.multiply(tokens, matmul.pack(weight))
    assert np.array_equal(products.numpy(), tokens.numpy().astype(int) @ weight.numpy().astype(int).T)


@needs_vnni
@pytest.mark.parametrize("length", [1, 63, 8192])
@pytest.mark.parametrize("num_rows", [1, 2, 9, 130])
def test_a_small_batch_is_bit_equal_to_numpy(length: int, num_rows: int) -> None:
    torch.manual_seed(1)
    weight = torch.randint(-127, 128, (num_rows, length), dtype=torch.int8)
    weight[0], weight[-1] = 127, -127
    tokens = torch.randint(-127, 128, (7, length))
    tokens[:, 0] = 127  # The largest magnitude of each token, so that quantization changes nothing.
    tokens[3], tokens[4] = 127, -127
    weights = weight.numpy(), torch.ones(num_rows).numpy(), torch.zeros(num_rows).numpy()
    y = small_batch_linear(tokens.float(), weights)
    assert np.array_equal(y.numpy(), (tokens.numpy() @ weight.numpy().astype(int).T).astype(np.float32))


@needs_vnni
def test_a_token_in_a_small_batch_is_bit_equal_to_the_same_token_alone() -> None:
    torch.manual_seed(1)
    fc1, fc2 = (
        (torch.randint(-127, 128, shape, dtype=torch.int8).numpy(), *torch.rand(2, shape[0]).numpy() / 100)
        for shape in ((130, 70), (70, 130))
    )
    x = torch.randn(32, 70)
    alone = torch.cat([small_batch_feed_forward(token[None], fc1, fc2) for token in x])
    assert torch.equal(small_batch_feed_forward(x, fc1, fc2), alone)


@pytest.mark.parametrize(
    ("choice", "capabilities", "name"),
    [
        ("auto", {"avx2": True, "avx512_f": True, "avx512_vnni": True}, "VNNI"),
        ("auto", {"avx2": True, "avx_vnni": True}, "VNNI"),
        ("auto", {"avx2": True}, "oneDNN, 7-bit activations"),
        ("auto", {"avx2": True, "avx512_f": True}, "oneDNN, 7-bit activations"),
        ("auto", {"neon": True, "dot": True}, "oneDNN"),
        ("vnni", {"avx_vnni": True}, "VNNI"),
        ("onednn", {"avx512_vnni": True}, "oneDNN"),
        ("onednn", {"avx2": True}, "oneDNN, 7-bit activations"),
    ],
)
def test_the_kernel_follows_the_setting_and_the_cpu(
    choice: KernelChoice, capabilities: dict[str, bool], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.inference.int8_matmul._is_exact", lambda matmul: True)
    assert choose_matmul(choice, capabilities).name == name


def test_vnni_on_a_cpu_without_it_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelNotLoaded, match=r"neither AVX-512 VNNI nor AVX-VNNI.*Set it to auto or onednn"):
        choose_matmul("vnni", {"avx2": True})


def test_a_vnni_kernel_with_wrong_products_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.inference.int8_matmul._is_exact", lambda matmul: False)
    with pytest.raises(ModelNotLoaded, match="wrong products"):
        choose_matmul("vnni", {"avx512_vnni": True})


@pytest.mark.slow
def test_seven_bit_activations_are_exact_without_vnni() -> None:
    """OneDNN is limited to AVX2, as on an older CPU."""
    folder = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder), "-k", "7-bit"],
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
from deployments.inference.int8_matmul import choose_matmul
for choice, capabilities in (("auto", {"avx512_vnni": True}), ("auto", {"dot": True}), ("onednn", {"avx_vnni": True})):
    assert choose_matmul(choice, capabilities).name == "oneDNN, 7-bit activations"
"""
    _run(script, ONEDNN_MAX_CPU_ISA="AVX2")


@pytest.mark.slow
@needs_vnni
def test_a_small_batch_is_right_with_vectors_of_256_bits(tmp_path: Path) -> None:
    """Such are the vectors of CPUs that have AVX-VNNI only."""
    script = """
import torch
torch.cpu.get_capabilities = lambda: {"avx_vnni": True}
from deployments.inference import vnni
from deployments.inference.small_batch import small_batch_linear
assert vnni.vector_bytes() == 32
weight = torch.randint(-127, 128, (7, 200), dtype=torch.int8)
x = torch.randint(-127, 128, (6, 200)).float()
x[:, 0] = 127  # The largest magnitude of each token, so that quantization changes nothing.
weights = weight.numpy(), torch.ones(7).numpy(), torch.zeros(7).numpy()
torch.testing.assert_close(small_batch_linear(x, weights), x @ weight.T.float(), rtol=1e-5, atol=0.1)
"""
    _run(script, NUMBA_CACHE_DIR=str(tmp_path))
