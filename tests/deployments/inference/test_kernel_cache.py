import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.inference import kernel_cache
from deployments.inference.kernel_cache import KernelCache, fingerprint


def _run(script: str, **environment: str) -> str:
    """Run a script in a new process, and return its stderr."""
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelCache:
    monkeypatch.setattr(kernel_cache.numba.config, "CACHE_DIR", str(tmp_path))
    return KernelCache("test")


def test_a_folder_is_complete_once_it_is_sealed(cache: KernelCache) -> None:
    (cache.folder / "kernel.nbc").write_bytes(b"code")
    assert not cache.is_complete()
    cache.seal()
    assert cache.is_complete()
    assert KernelCache("test").is_complete()
    assert not KernelCache("another").is_complete()


@pytest.mark.parametrize("name", ["kernel.nbc", "kernel.nbi", "manifest.json"])
@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"[]"])
def test_a_damaged_file_makes_the_folder_incomplete(cache: KernelCache, name: str, content: bytes) -> None:
    for file in ("kernel.nbc", "kernel.nbi"):
        (cache.folder / file).write_bytes(b"code")
    cache.seal()
    (cache.folder / name).write_bytes(content)
    assert not cache.is_complete()
    cache.clear()
    assert not list(cache.folder.iterdir())


def test_only_our_own_old_folders_are_deleted(cache: KernelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    root = cache.folder.parent.parent
    for i in range(12):
        (root / f"{i:024x}").mkdir()
        os.utime(root / f"{i:024x}", (i, i))
    (root / "of-somebody-else").mkdir()
    cache.seal()
    remaining = {path.name for path in root.iterdir() if path.is_dir()}
    assert remaining == {fingerprint(), "of-somebody-else", *(f"{i:024x}" for i in range(5, 12))}


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"NUMBA_CACHE_DIR": "numba", "XDG_CACHE_HOME": "xdg"}, "numba/prism/kernels"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/prism/kernels"),
        ({}, ".cache/prism/kernels"),
    ],
)
def test_the_folder_is_where_the_user_keeps_caches(tmp_path: Path, environment: dict[str, str], root: str) -> None:
    script = """
import sys
from deployments.inference.kernel_cache import KernelCache
sys.stderr.write(str(KernelCache("test").folder))
"""
    variables = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": "", "HOME": str(tmp_path)}
    variables |= {name: str(tmp_path / folder) for name, folder in environment.items()}
    assert Path(_run(script, **variables)).is_relative_to(tmp_path / root)


def test_importing_the_package_probes_and_reads_nothing() -> None:
    script = """
import pathlib, torch
def refuse(*arguments, **options):
    raise AssertionError("at import")
torch.cpu.get_capabilities = refuse
pathlib.Path.read_bytes = refuse
pathlib.Path.mkdir = refuse
import deployments.inference.int8_layers
import deployments.inference.precompile
"""
    _run(script)


@pytest.mark.slow
def test_kernels_are_compiled_by_another_process_once_and_again_after_damage(tmp_path: Path) -> None:
    script = """
from unittest import mock

import torch
from deployments.inference import jit, precompile
from deployments.inference.int8_layers import Int8FeedForward, Int8Linear, Int8ParallelBlock
from deployments.inference.int8_matmul import choose_matmul
from deployments.inference.kernel_cache import KernelCache
from deployments.inference.kv_cache import Int8Cache

for choice in ("onednn", "auto"):
    matmul = choose_matmul(choice, torch.cpu.get_capabilities())
    layer = Int8Linear(torch.ones(64, 64, dtype=torch.int8), torch.ones(64), torch.ones(64), matmul)
    for num_tokens in (1, 40):
        Int8FeedForward(layer, layer)(layer(torch.ones(num_tokens, 64)))
cache = Int8Cache((3, 2, 40, 16))
cache.write(1, *torch.ones(2, 5, 2, 16))
Int8Cache.append_and_attend([cache], 1, *torch.ones(3, 1, 2, 16), (torch.ones(1, 1, 4), torch.ones(1, 1, 4)))
Int8Cache.attend([cache], 1, torch.ones(1, 2, 16))
if matmul.max_small_batch:
    qkv = Int8Linear(torch.ones(128, 64, dtype=torch.int8), torch.ones(128), torch.ones(128), matmul)
    norm = torch.nn.LayerNorm(64).requires_grad_(False)
    block = Int8ParallelBlock(norm, qkv, layer, Int8FeedForward(layer, layer), 2)
    block(torch.ones(1, 64), [cache], 1, (torch.ones(1, 1, 4), torch.ones(1, 1, 4)))
stats = [kernel.stats for kernel in jit.kernels()]
assert sum(sum(kernel.cache_hits.values()) for kernel in stats) >= 5
assert not any(any(kernel.cache_misses.values()) for kernel in stats)
def refuse(*arguments, **options):
    raise AssertionError("compiled again")
run = precompile.subprocess.run
precompile.subprocess.run = refuse
precompile.ensure_compiled()

# A file is empty, as after a power failure, and the child process cannot be started: the file is deleted.
folder = KernelCache(jit.PACKAGE_CACHE).folder
[damaged] = folder.rglob("*_quantize_per_token*.nbc")
damaged.write_bytes(b"")
def fail(*arguments, **options):
    raise OSError("no memory")
precompile.subprocess.run = fail
precompile.ensure_compiled()
assert not damaged.exists()

# The child process ends, but has saved nothing.
precompile.subprocess.run = lambda command, **options: run(["true"], **options)
with mock.patch.object(precompile.logger, "warning") as warning:
    precompile.ensure_compiled()
assert "not saved" in str(warning.call_args)
"""
    _run(script, NUMBA_CACHE_DIR=str(tmp_path))


def test_without_a_writable_folder_kernels_are_compiled_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    script = """
import logging
logging.basicConfig(level=logging.WARNING)
import torch
from deployments.inference.quantization import dequantize, quantize_per_token
tokens, scales = quantize_per_token(torch.ones(2, 4), 127)
assert (tokens == 127).all()
dequantize(tokens.int(), scales, torch.ones(4), torch.ones(4))
"""
    log = _run(script, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert log.count("WARNING") == 1
    assert "each start will compile them again" in log


@pytest.mark.slow
def test_a_function_of_another_package_is_compiled_once_and_again_after_damage(tmp_path: Path) -> None:
    script = """
import numpy as np
import sys
from whisper.timing import dtw_cpu
from deployments.inference.jit import call_cached
call_cached(dtw_cpu, "word_timestamps", np.zeros((2, 2)))
sys.stderr.write(str(sum(dtw_cpu.stats.cache_misses.values())))
"""
    assert _run(script, NUMBA_CACHE_DIR=str(tmp_path)) == "1"
    assert _run(script, NUMBA_CACHE_DIR=str(tmp_path)) == "0"
    for damaged in (*tmp_path.rglob("*.nbc"), *tmp_path.rglob("*.nbi")):
        damaged.write_bytes(b"")
    assert _run(script, NUMBA_CACHE_DIR=str(tmp_path)).endswith("1")
    assert _run(script, NUMBA_CACHE_DIR=str(tmp_path)) == "0"
