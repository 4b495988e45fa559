"""Linear layers, feed-forward blocks and embeddings with int8 weights, fp32 in and out.

Weights are quantized per channel, activations per token while a layer runs. So a token with large values costs the
others no precision, and a token's output does not depend on the rest of the batch: bit for bit in a small batch, up to
fp32 rounding in a large one.
"""

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn

from deployments.inference.fused_block import fused_parallel_block
from deployments.inference.int8_matmul import Int8Kernel
from deployments.inference.kv_cache import Int8Cache
from deployments.inference.quantization import dequantize, gelu_quantize, quantize_per_token
from deployments.inference.rotary import Rotation
from deployments.inference.small_batch import Int8Weights, small_batch_feed_forward, small_batch_linear


class _Int8Module(nn.Module):
    """Holds int8 weights in a kernel's layout. They never change, so copies of a model share them."""

    def __init__(self, weights: Any, num_bytes: int) -> None:
        super().__init__()
        self.weights = weights
        self.num_bytes = num_bytes

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Int8Linear(_Int8Module):
    """`nn.Linear` for inference."""

    def __init__(self, weight: Tensor, scales: Tensor, bias: Tensor, kernel: Int8Kernel) -> None:
        """Take what `quantize_per_channel` returns, and the bias, shape (out,)."""
        super().__init__(kernel.pack(weight), weight.numel())
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)
        self.kernel = kernel
        self._scales = scales
        self._unpacked = (weight.numpy(), scales.numpy(), self.bias.numpy()) if kernel.max_small_batch else None

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= self.kernel.max_small_batch:
            y = small_batch_linear(rows, self.unpacked)
        else:
            y = self.forward_quantized(*quantize_per_token(rows, self.kernel.qmax))
        return y.view(*x.shape[:-1], -1)

    def forward_quantized(self, tokens: Tensor, scales: Tensor) -> Tensor:
        """Return the outputs, fp32 (n, out), for tokens that are already quantized."""
        return dequantize(self.kernel.multiply(tokens, self.weights), scales, self._scales, self.bias)

    def forward_gelu_quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the GELU of the outputs for fp32 x (n, in), quantized for `forward_quantized` of the next layer."""
        qmax = self.kernel.qmax
        tokens, scales = quantize_per_token(x, qmax)
        return gelu_quantize(self.kernel.multiply(tokens, self.weights), scales, self._scales, self.bias, qmax)

    @property
    def unpacked(self) -> Int8Weights:
        """The layer as `small_batch_linear` takes it; only for a kernel with max_small_batch above 0."""
        assert self._unpacked is not None
        return self._unpacked


class Int8FeedForward(nn.Module):
    """fc2(gelu(fc1(x))); in a large batch, the hidden layer exists in int8 only."""

    def __init__(self, fc1: Int8Linear, fc2: Int8Linear) -> None:
        super().__init__()
        self.fc1, self.fc2 = fc1, fc2

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= self.fc1.kernel.max_small_batch:
            y = small_batch_feed_forward(rows, self.fc1.unpacked, self.fc2.unpacked)
        else:
            y = self.fc2.forward_quantized(*self.fc1.forward_gelu_quantize(rows))
        return y.view(*x.shape[:-1], -1)


class Int8ParallelBlock:
    """One decode step of a block with parallel attention and feed-forward, in a single compiled call."""

    def __init__(
        self, norm: nn.LayerNorm, qkv: Int8Linear, proj: Int8Linear, mlp: Int8FeedForward, num_kv_heads: int
    ) -> None:
        """Take the block's layers, whose kernel must have max_small_batch above 0."""
        self.max_batch = qkv.kernel.max_small_batch
        self._norm = (norm.weight.numpy(), norm.bias.numpy(), norm.eps)
        self._layers = (qkv.unpacked, proj.unpacked, mlp.fc1.unpacked, mlp.fc2.unpacked)
        self._num_kv_heads = num_kv_heads

    def __call__(self, hidden: Tensor, caches: Sequence[Int8Cache], layer: int, rotation: Rotation) -> Tensor:
        """Return `fused_parallel_block` of at most `max_batch` sequences."""
        return fused_parallel_block(hidden, self._norm, self._layers, self._num_kv_heads, caches, layer, rotation)


class Int8Embedding(_Int8Module):
    """`nn.Embedding` for inference."""

    def __init__(self, weight: Tensor, scales: Tensor) -> None:
        """Take what `quantize_per_channel` returns: a scale per row."""
        super().__init__(weight, weight.numel())
        self._scales = scales

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.weights[ids] * self._scales[ids][..., None]
        return y


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's weights; weights that an embedding and a layer share are counted once."""
    quantized = {id(module.weights): module.num_bytes for module in model.modules() if isinstance(module, _Int8Module)}
    return sum(parameter.nbytes for parameter in model.parameters()) + sum(quantized.values())
