import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deployments.inference import vnni
from deployments.inference.cache import Int8Cache
from deployments.inference.int8_kernels import Layer, few_feed_forward, few_linear
from deployments.inference.parallel_block import few_parallel_block
from deployments.inference.rotary import Rotary

pytestmark = pytest.mark.skipif(not vnni.IS_THERE, reason="the processor has no VNNI")

EPSILON = 1e-5


def _layer(inputs: int, outputs: int) -> Layer:
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
    scales = (torch.rand(outputs) + 0.5) / (73 * inputs**0.5)  # of whose products the variance is about one
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
def test_a_block_at_once_is_what_its_layers_are_one_by_one(
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
        heads = few_linear(x, qkv).view(len(x), -1, head_dim)
        queries, keys, values = heads.split([num_heads, num_kv_heads, num_kv_heads], dim=1)
        return Int8Cache.append_and_attend(caches, 1, queries, keys, values, rotation).flatten(1)

    one_by_one, at_once = (_caches(lengths, num_kv_heads, head_dim) for _ in range(2))
    normed = functional.layer_norm(hidden, [dim], weight, bias, EPSILON)
    expected = hidden + few_linear(attend(one_by_one, normed), proj) + few_feed_forward(normed, fc1, fc2)
    norm = (weight.numpy(), bias.numpy(), EPSILON)
    found = few_parallel_block(hidden, norm, (qkv, proj, fc1, fc2), num_kv_heads, at_once, 1, rotation)
    # What is rounded may differ by one where sums were added up in another order.
    assert float((found - expected).norm() / expected.norm()) < 0.003
    for cache, other, length in zip(at_once, one_by_one, lengths, strict=True):
        for part, its in zip(cache.read(1, length + 1), other.read(1, length + 1), strict=True):
            torch.testing.assert_close(part, its, rtol=0, atol=0.05)


def test_a_sequence_without_room_is_refused() -> None:
    layer, qkv = _layer(64, 64), _layer(64, 192)
    norm = (torch.ones(64).numpy(), torch.zeros(64).numpy(), EPSILON)
    [cache] = _caches([40], 4, 16)
    cache.length = cache.capacity
    rotation = Rotary(16)(torch.tensor([cache.length]))
    with pytest.raises(ValueError, match="no room"):
        few_parallel_block(torch.ones(1, 64), norm, (qkv, layer, layer, layer), 4, [cache], 1, rotation)
