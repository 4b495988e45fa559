import math
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from deployments.inference import int8_attention
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.kv_cache import FloatCache, Int8Cache, KeyValueCache
from deployments.inference.rotary import Rotation
from deployments.inference.vnni import KEYS_IN_BLOCK

LAYERS, LAYER = 3, 2


def _rotation(positions: Sequence[int], head_dim: int) -> Rotation:
    angles = torch.outer(torch.tensor(positions, dtype=torch.float32), torch.linspace(0.1, 1, head_dim // 4))[:, None]
    return angles.cos(), angles.sin()


def _error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def _filled(cache: KeyValueCache, keys: Tensor, values: Tensor) -> KeyValueCache:
    cache.write(LAYER, keys, values)
    cache.length = len(keys)
    return cache


@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim", "length"), [(32, 32, 64, 500), (6, 2, 42, 7), (4, 4, 16, 0)]
)
def test_int8_attention_is_within_two_percent_of_exact_attention(
    num_heads: int, num_kv_heads: int, head_dim: int, length: int
) -> None:
    torch.manual_seed(1)
    shape = (LAYERS, num_kv_heads, length + 9, head_dim)
    keys, values = torch.randn(2, length, num_kv_heads, head_dim)
    quantized = _filled(Int8Cache(shape), keys, values)
    exact = _filled(FloatCache(shape, torch.float32), keys, values)
    new = (
        3 * torch.randn(1, num_heads, head_dim),
        *torch.randn(2, 1, num_kv_heads, head_dim),
        _rotation([length], head_dim),
    )
    attn_out = [type(cache).append_and_attend([cache], LAYER, *new) for cache in (quantized, exact)]  # type: ignore[list-item]
    assert attn_out[0].shape == (1, num_heads, head_dim)
    assert _error(*attn_out) < 0.02
    for quantized_part, exact_part in zip(
        quantized.read(LAYER, length + 1), exact.read(LAYER, length + 1), strict=True
    ):
        assert _error(quantized_part, exact_part) < 0.01


def test_a_sequence_in_a_batch_attends_bit_for_bit_as_alone() -> None:
    torch.manual_seed(1)
    past = [torch.randn(2, length, 4, 16) for length in (5, 30, 0)]
    queries, keys, values = torch.randn(3, 3, 4, 16)

    def caches() -> list[Int8Cache]:
        filled = [Int8Cache((LAYERS, 4, 31 + length, 16)) for length in (5, 30, 0)]
        for cache, (keys, values) in zip(filled, past, strict=True):
            _filled(cache, keys, values)
        return filled

    together = Int8Cache.append_and_attend(caches(), LAYER, queries, keys, values, _rotation([5, 30, 0], 16))
    for row, cache in enumerate(caches()):
        new = (part[row : row + 1] for part in (queries, keys, values))
        rotation = _rotation([[5, 30, 0][row]], 16)
        assert torch.equal(together[row], Int8Cache.append_and_attend([cache], LAYER, *new, rotation)[0])


@pytest.mark.parametrize("kind", [Int8Cache, lambda shape: FloatCache(shape, torch.bfloat16)])
def test_growing_a_cache_keeps_its_content(kind: type[Int8Cache]) -> None:
    keys, values = torch.randn(2, 6, 4, 16).bfloat16().float()
    cache = _filled(kind((LAYERS, 4, 16, 16)), keys, values)
    assert cache.with_capacity(16) is cache
    larger = cache.with_capacity(32)
    assert (larger.capacity, larger.length) == (32, 6)
    for before, after in zip(cache.read(LAYER, 6), larger.read(LAYER, 6), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("is_strided", [False, True])
def test_strided_inputs_are_accepted(is_strided: bool) -> None:
    projected = torch.randn(3, 12, 16)
    queries, keys, values = (part if is_strided else part.clone() for part in projected.split(4, dim=1))
    caches = [Int8Cache((LAYERS, 4, 8, 16)) for _ in range(3)]
    attn_out = Int8Cache.append_and_attend(caches, LAYER, queries, keys, values, _rotation([0, 0, 0], 16))
    assert _error(attn_out, projected[:, 8:]) < 0.01  # A first position attends to its own value only.


def test_positions_beyond_the_capacity_are_refused() -> None:
    cache = Int8Cache((LAYERS, 4, 4, 16))
    assert cache.capacity == 16  # Rounded up to a multiple of KEYS_IN_BLOCK.
    with pytest.raises(ValueError, match="17 positions from 0 on do not fit into 16"):
        cache.write(LAYER, *torch.randn(2, 17, 4, 16))
    cache.length = 16
    with pytest.raises(ValueError, match="full"):
        Int8Cache.append_and_attend([cache], LAYER, *torch.randn(3, 1, 4, 16), None)


def test_an_int8_cache_takes_less_than_a_third_of_the_fp32_one() -> None:
    shape = (LAYERS, 4, 800, 64)
    assert Int8Cache(shape).nbytes < FloatCache(shape, torch.float32).nbytes / 3


HAS_VNNI = bool(local_vnni_vector_bytes())
KEY_PRODUCTS = [
    int8_attention.portable_key_products,
    *([int8_attention.vnni_key_products] if HAS_VNNI else []),
]
WEIGHTED_VALUES = [
    int8_attention.portable_weighted_values,
    *([int8_attention.vnni_weighted_values] if HAS_VNNI else []),
]
SHAPES = [(7, 64), (1, 16), (5, 42), (3, 96)]


@pytest.mark.parametrize("multiply", KEY_PRODUCTS)
@pytest.mark.parametrize(("num_blocks", "head_dim"), SHAPES)
def test_key_products_are_bit_equal_to_numpy(multiply: Callable[..., None], num_blocks: int, head_dim: int) -> None:
    rng = np.random.default_rng(1)
    num_fours = math.ceil(head_dim / 4)
    keys = rng.integers(0, 256, (num_blocks, num_fours, KEYS_IN_BLOCK, 4), np.uint8)
    values = np.empty((num_blocks * KEYS_IN_BLOCK // 4, head_dim, 4), np.int8)
    query = rng.integers(-127, 128, 4 * num_fours, np.int8)
    products = np.empty(num_blocks * KEYS_IN_BLOCK, np.int32)
    multiply(keys, query, products, values)
    assert np.array_equal(products, np.einsum("bfik,fk->bi", keys.astype(int), query.reshape(-1, 4)).ravel())


@pytest.mark.parametrize("add_up", WEIGHTED_VALUES)
@pytest.mark.parametrize(("num_blocks", "head_dim"), SHAPES)
def test_weighted_sums_of_values_are_bit_equal_to_numpy(
    add_up: Callable[..., None], num_blocks: int, head_dim: int
) -> None:
    rng = np.random.default_rng(1)
    num_positions = num_blocks * KEYS_IN_BLOCK
    values = rng.integers(-127, 128, (num_positions // 4, head_dim, 4), np.int8)
    weights = rng.integers(0, 256, (2, num_positions), np.uint8)
    keys = np.empty((1, math.ceil(head_dim / 4), KEYS_IN_BLOCK, 4), np.uint8)
    sums = np.empty((2, head_dim), np.int32)
    add_up(values, *weights, sums, keys)
    assert np.array_equal(sums, np.einsum("pik,wpk->wi", values.astype(int), weights.reshape(2, -1, 4)))


def test_a_copy_is_independent() -> None:
    cache = _filled(Int8Cache((LAYERS, 4, 8, 16)), *torch.randn(2, 3, 4, 16))
    copy = cache.copy()
    before = [part.clone() for part in copy.read(LAYER, 3)]
    cache.length = 0
    cache.write(LAYER, *torch.randn(2, 3, 4, 16))
    assert copy.length == 3
    assert all(torch.equal(*parts) for parts in zip(copy.read(LAYER, 3), before, strict=True))


def test_torch_keeps_its_number_of_threads_after_the_first_kernel() -> None:
    """In a process of its own, because numba's first call changes the number."""
    script = """
import torch
from deployments.inference import int8_attention
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.kv_cache import Int8Cache
torch.set_num_threads(1)
Int8Cache((1, 4, 8, 16)).write(0, *torch.randn(2, 3, 4, 16))
assert torch.get_num_threads() == 1
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
