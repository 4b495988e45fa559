import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.fused_block import fused_parallel_block
from deployments.inference.kv_cache import Int8Cache
from deployments.inference.rotary import Rotary
from deployments.inference.small_batch import Int8Weights, small_batch_feed_forward, small_batch_linear

pytestmark = pytest.mark.skipif(not local_vnni_vector_bytes(), reason="the CPU has no VNNI")

EPSILON = 1e-5


def _layer(inputs: int, outputs: int) -> Int8Weights:
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
    scales = (torch.rand(outputs) + 0.5) / (73 * inputs**0.5)  # Outputs have a variance of about one.
    return weight.numpy(), scales.numpy(), torch.randn(outputs).numpy()


def _caches(lengths: list[int], num_kv_heads: int, head_dim: int) -> list[Int8Cache]:
    torch.manual_seed(2)
    caches = []
    for length in lengths:
        cache = Int8Cache((2, num_kv_heads, 40, head_dim))
        cache.write(1, *torch.randn(2, length, num_kv_heads, head_dim))
        cache.length = length
        caches.append(cache)
    return caches


@pytest.mark.parametrize(("num_heads", "num_kv_heads", "head_dim"), [(4, 4, 16), (6, 2, 42)])
@pytest.mark.parametrize("lengths", [[30], [0, 5, 39, 1, 17, 8]])
def test_the_fused_block_computes_what_its_layers_compute_one_by_one(
    lengths: list[int], num_heads: int, num_kv_heads: int, head_dim: int
) -> None:
    torch.manual_seed(1)
    dim, kv_dim, inner = num_heads * head_dim, num_kv_heads * head_dim, 3 * num_heads * head_dim + 1
    qkv, proj, fc1, fc2 = (
        _layer(*shape) for shape in ((dim, dim + 2 * kv_dim), (dim, dim), (dim, inner), (inner, dim))
    )
    weight, bias = torch.randn(2, dim)
    hidden = torch.randn(len(lengths), dim) + 3
    rotation = Rotary(head_dim)(torch.tensor(lengths))

    def attend(caches: list[Int8Cache], x: Tensor) -> Tensor:
        heads = small_batch_linear(x, qkv).view(len(x), -1, head_dim)
        queries, keys, values = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
        return Int8Cache.append_and_attend(caches, 1, queries, keys, values, rotation).flatten(1)

    separate, fused = (_caches(lengths, num_kv_heads, head_dim) for _ in range(2))
    normed = functional.layer_norm(hidden, [dim], weight, bias, EPSILON)
    expected = hidden + small_batch_linear(attend(separate, normed), proj) + small_batch_feed_forward(normed, fc1, fc2)
    norm = (weight.numpy(), bias.numpy(), EPSILON)
    actual = fused_parallel_block(hidden, norm, (qkv, proj, fc1, fc2), num_kv_heads, fused, 1, rotation)
    # A quantized number may differ by one where a sum was added up in another order.
    assert float((actual - expected).norm() / expected.norm()) < 0.003
    for fused_cache, separate_cache, length in zip(fused, separate, lengths, strict=True):
        for actual_part, part in zip(fused_cache.read(1, length + 1), separate_cache.read(1, length + 1), strict=True):
            torch.testing.assert_close(actual_part, part, rtol=0, atol=0.05)


def test_a_full_cache_is_refused() -> None:
    layer, qkv = _layer(64, 64), _layer(64, 192)
    norm = (torch.ones(64).numpy(), torch.zeros(64).numpy(), EPSILON)
    [cache] = _caches([40], 4, 16)
    cache.length = cache.capacity
    rotation = Rotary(16)(torch.tensor([cache.length]))
    with pytest.raises(ValueError, match="full"):
        fused_parallel_block(torch.ones(1, 64), norm, (qkv, layer, layer, layer), 4, [cache], 1, rotation)
