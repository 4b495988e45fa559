"""Ahead-of-time compilation of this package's kernels: `python -m deployments.inference.precompile`.

It runs in a process of its own, because LLVM never frees its memory: 400 MB for these kernels.
"""

import subprocess
import sys
from pathlib import Path

import torch

from deployments.inference import quantization, small_batch
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.fused_block import fused_parallel_block
from deployments.inference.int8_full_attention import int8_full_attention
from deployments.inference.jit import PACKAGE_CACHE, kernels
from deployments.inference.kernel_cache import KernelCache
from deployments.inference.kv_cache import Int8Cache
from deployments.log import logger

_MODULE = "deployments.inference.precompile"
_IMPORT_ROOT = Path(__file__).parents[_MODULE.count(".")]
_TIMEOUT_S = 300


def ensure_compiled() -> None:
    """Compile the kernels for this CPU in a new process, unless they are in the kernel cache.

    If several processes call this, one compiles and the others wait. If it fails, a warning is logged, and each kernel
    is compiled at its first call.
    """
    try:
        cache = KernelCache(PACKAGE_CACHE)
        if cache.is_complete():
            return
        with cache.lock():
            if cache.is_complete():
                return
            cache.clear()
            logger.info("Compiling kernels for this CPU. This takes 15 to 30 seconds, only once.")
            command = [sys.executable, "-m", _MODULE]
            run = subprocess.run(
                command, cwd=_IMPORT_ROOT, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
            )
            if not cache.is_complete():
                raise RuntimeError(f"the new process has not saved them. {run.stderr}")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.warning("Kernels cannot be compiled ahead of time, so each is compiled at its first call: %s", reason)


def compile_all() -> None:
    """Call every kernel once with the types that the models use, and seal the cache if all were saved."""
    has_vnni = bool(local_vnni_vector_bytes())
    x, weight, ones = torch.ones(2, 64), torch.ones(64, 64, dtype=torch.int8), torch.ones(64)
    _, scales = quantization.quantize_per_token(x, 127)
    # The products of VnniMatmul are int32, those of OneDnnMatmul fp32.
    for dtype in (torch.int32, torch.float32) if has_vnni else (torch.float32,):
        products = torch.zeros(2, 64, dtype=dtype)
        quantization.dequantize(products, scales, ones, ones)
        quantization.gelu_quantize(products, scales, ones, ones, 127)
    cache = Int8Cache((1, 2, 4, 16))
    cache.write(0, *torch.ones(2, 1, 2, 16))
    cache.length = 1
    query, key, value = torch.ones(3, 1, 2, 16)
    Int8Cache.append_and_attend([cache], 0, query, key, value, rotation=None)
    if has_vnni:
        norm = (ones.numpy(), ones.numpy(), 1e-5)
        layer, qkv = ((rows.numpy(), *torch.ones(2, len(rows)).numpy()) for rows in (weight, weight.repeat(2, 1)))
        small_batch.small_batch_linear(x, layer)
        small_batch.small_batch_feed_forward(x, layer, layer)
        rotation = (torch.ones(1, 1, 4), torch.ones(1, 1, 4))
        int8_full_attention(*torch.ones(3, 1, 2, 16))
        fused_parallel_block(x[:1], norm, (qkv, layer, layer, layer), 2, [cache], 0, rotation)
    kernel_cache = KernelCache(PACKAGE_CACHE)
    if kernel_cache.num_saved() == sum(len(dispatcher.signatures) for dispatcher in kernels()):
        kernel_cache.seal()


if __name__ == "__main__":
    compile_all()
