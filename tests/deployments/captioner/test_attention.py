import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from deployments.captioner.attention import attend_to_bf16


@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim", "length"), [(32, 32, 64, 500), (6, 2, 40, 7), (4, 4, 16, 1)]
)
def test_it_is_torchs_attention(num_heads: int, num_kv_heads: int, head_dim: int, length: int) -> None:
    torch.manual_seed(1)
    keys, values = torch.randn(2, 3, num_kv_heads, length + 9, head_dim).bfloat16()
    queries = 4 * torch.randn(num_heads, head_dim)
    expected = functional.scaled_dot_product_attention(
        queries[None, :, None],
        keys[2][None, :, :length].float(),
        values[2][None, :, :length].float(),
        enable_gqa=True,
    )
    torch.testing.assert_close(attend_to_bf16(queries, keys, values, 2, length), expected[0, :, 0])


def test_torch_keeps_its_number_of_threads() -> None:
    """In a process of its own, because it is numba's first call that changes the number."""
    script = """
import torch
from deployments.captioner.attention import attend_to_bf16
torch.set_num_threads(1)
attend_to_bf16(torch.randn(4, 16), *torch.randn(2, 1, 4, 8, 16).bfloat16(), 0, 8)
assert torch.get_num_threads() == 1
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
