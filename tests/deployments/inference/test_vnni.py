import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_kernels_compile_without_typed_pointers(tmp_path: Path) -> None:
    """Typed pointers are off, as in future versions of llvmlite; without VNNI only the attention kernel is compiled."""
    script = """
import torch
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.kv_cache import Int8Cache
from deployments.inference.small_batch import small_batch_linear
if local_vnni_vector_bytes():
    layer = (torch.ones(8, 64, dtype=torch.int8).numpy(), *torch.ones(2, 8).numpy())
    torch.testing.assert_close(small_batch_linear(torch.ones(2, 64), layer), torch.full((2, 8), 65.0))
attn_out = Int8Cache.append_and_attend([Int8Cache((1, 2, 16, 16))], 0, *torch.ones(3, 1, 2, 16), None)
torch.testing.assert_close(attn_out, torch.ones(1, 2, 16))
"""
    environment = {**os.environ, "LLVMLITE_ENABLE_IR_LAYER_TYPED_POINTERS": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
