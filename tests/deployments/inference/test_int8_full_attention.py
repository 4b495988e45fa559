import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.int8_full_attention import int8_full_attention

pytestmark = pytest.mark.skipif(not local_vnni_vector_bytes(), reason="the CPU has no VNNI")


def _exact(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    by_head = (part.transpose(0, 1) for part in (queries, keys, values))
    return functional.scaled_dot_product_attention(*by_head).transpose(0, 1)


def _error(attn_out: Tensor, exact: Tensor) -> float:
    return float((attn_out - exact).norm() / exact.norm())


@pytest.mark.parametrize("n", [1, 2, 5, 127, 128, 129, 300])
@pytest.mark.parametrize("head_dim", [8, 64, 72])
def test_attention_of_any_size_is_that_of_torch(n: int, head_dim: int) -> None:
    torch.manual_seed(n)
    queries, keys, values = torch.randn(3, n, 3, head_dim)
    attn_out = int8_full_attention(queries, keys, values)
    assert attn_out.shape == (n, 3, head_dim)
    assert _error(attn_out, _exact(queries, keys, values)) < 0.02


@pytest.mark.parametrize("scale", [0.1, 3, 10])
def test_flat_and_peaked_attention_are_that_of_torch(scale: float) -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 500, 2, 64)
    assert _error(int8_full_attention(scale * queries, keys, values), _exact(scale * queries, keys, values)) < 0.04


def test_many_small_weights_count_beside_one_large_weight() -> None:
    """The weights of other steps than that of the largest are not lost although each is below 1/255 of it."""
    queries = torch.ones(1280, 1, 16)
    keys, values = torch.zeros(1280, 1, 16), torch.ones(1280, 1, 16)
    keys[700], values[700] = 1.75, -1  # e ** 7, against 1 for each other key
    attn_out = int8_full_attention(queries, keys, values)
    torch.testing.assert_close(attn_out, _exact(queries, keys, values), atol=0.1, rtol=0)


def test_numbers_of_very_different_size_and_zeros_give_finite_results() -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 200, 3, 32)
    queries[:, 0], keys[5], values[:, 1] = 0, 0, 0
    keys[7] *= 1e6
    attn_out = int8_full_attention(queries, keys, values)
    assert attn_out.isfinite().all()
    exact = _exact(queries, keys, values)
    is_clear = (queries[:, 2] @ keys[7, 2]) > 1e5  # the large key has all of the weight
    assert 50 < is_clear.sum() < 150
    torch.testing.assert_close(attn_out[is_clear, 2], exact[is_clear, 2], atol=0.02, rtol=0.02)
    torch.testing.assert_close(attn_out[:, 0], values[:, 0].mean(dim=0).expand(200, 32), atol=0.01, rtol=0)
    assert not attn_out[:, 1].any()


def test_the_threads_do_not_change_the_result() -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 150, 4, 64)
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = int8_full_attention(queries, keys, values)
        torch.set_num_threads(2)
        assert torch.equal(int8_full_attention(queries, keys, values), alone)
    finally:
        torch.set_num_threads(num_threads)


@pytest.mark.slow
def test_attention_is_right_with_vectors_of_256_bits(tmp_path: Path) -> None:
    """Such are the vectors of CPUs that have AVX-VNNI only."""
    script = """
import torch
torch.cpu.get_capabilities = lambda: {"avx_vnni": True}
from deployments.inference import vnni
from deployments.inference.int8_full_attention import int8_full_attention
from torch.nn.functional import scaled_dot_product_attention
assert vnni.vector_bytes() == 32
queries, keys, values = torch.randn(3, 200, 2, 72)
exact = scaled_dot_product_attention(*(part.transpose(0, 1) for part in (queries, keys, values))).transpose(0, 1)
torch.testing.assert_close(int8_full_attention(queries, keys, values), exact, atol=0.05, rtol=0)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
