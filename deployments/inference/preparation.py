"""Compiles the loops of this package ahead, in a process that ends: `python -m deployments.inference.preparation`.

The compiler never gives its memory back: with these loops, 400 MB in each process that has compiled them.
"""

import subprocess
import sys
from pathlib import Path

import torch
from filelock import FileLock

from deployments.inference import int8_kernels, vnni
from deployments.inference.cache import Int8Cache
from deployments.inference.compiled import LOOPS, is_kept
from deployments.inference.parallel_block import few_parallel_block
from deployments.log import logger

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 300
"""Compiling took 40 s on a core that was shared by three processes."""


def ensure_compiled() -> None:
    """Have the loops compiled for this processor where they are not; of several processes that want it, one does it.

    Where that fails they are compiled at their first use instead, which the log says.
    """
    if all(is_kept(loop) for loop in LOOPS):
        return
    try:
        with FileLock(Path(LOOPS[0]._cache.cache_path) / "compiling.lock", timeout=_PATIENCE_S):
            if all(is_kept(loop) for loop in LOOPS):
                return
            logger.info("Compiling loops for this processor, once; this takes about a quarter of a minute.")
            command = [sys.executable, "-m", "deployments.inference.preparation"]
            run = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=_PATIENCE_S)
            if not all(is_kept(loop) for loop in LOOPS):
                raise RuntimeError(f"they were compiled, but not kept. {run.stderr}")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.warning("Loops could not be compiled ahead, so each is at its first use: %s", reason)


def compile_all() -> None:
    """Run every loop once."""
    x, weight = torch.ones(2, 64), torch.ones(64, 64, dtype=torch.int8)
    ones = torch.ones(64)
    tokens, scales = int8_kernels.round_tokens(x, 127)
    products = torch.zeros(2, 64, dtype=torch.int32 if vnni.IS_THERE else torch.float32)
    int8_kernels.scale_back(products, scales, ones, ones)
    int8_kernels.gelu_rounded(products, scales, ones, ones, 127)
    cache = Int8Cache((1, 2, 4, 16))
    cache.write(0, *torch.ones(2, 1, 2, 16))
    cache.length = 1
    query, key, value = torch.ones(3, 1, 2, 16)
    Int8Cache.append_and_attend([cache], 0, query, key, value, rotation=None)
    if vnni.IS_THERE:
        norm = (ones.numpy(), ones.numpy(), 1e-5)
        layer, qkv = ((rows.numpy(), *torch.ones(2, len(rows)).numpy()) for rows in (weight, weight.repeat(2, 1)))
        int8_kernels.few_linear(x, layer)
        int8_kernels.few_feed_forward(x, layer, layer)
        rotation = (torch.ones(1, 1, 4), torch.ones(1, 1, 4))
        few_parallel_block(x[:1], norm, (qkv, layer, layer, layer), 2, [cache], 0, rotation)


if __name__ == "__main__":
    compile_all()
