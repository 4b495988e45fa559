"""Linear layers and embeddings with weights of 8 bits: a quarter of the memory, in the arithmetic that CPUs do fastest.

Weights are rounded per output channel (row), activations per token while they are multiplied, both symmetrically:
a token with large values costs no other its precision, and what a token becomes does not depend on its neighbours
(bit for bit among few tokens, but for the rounding of fp32 among many).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from deployments.inference.cache import Int8Cache
from deployments.inference.compiled import SMALLEST_MAGNITUDE
from deployments.inference.int8_kernels import (
    Layer,
    few_feed_forward,
    few_linear,
    gelu_rounded,
    round_tokens,
    scale_back,
)
from deployments.inference.parallel_block import few_parallel_block
from deployments.inference.preparation import ensure_compiled
from deployments.inference.rotary import Rotation

MAX_INT8 = 127
_ROWS_AT_ONCE = 1024
"""Rounded together: a whole embedding in fp32 would be the most memory that loading takes."""


class Int8Kernel(Protocol):
    """Multiplies int8 tokens, rounded to [-largest, largest], with int8 weights, exactly but for fp32's rounding."""

    name: str
    largest: int
    few_tokens: int
    """Up to so many are better multiplied by `few_linear`, which takes the weights unpacked."""

    def pack(self, weight: Tensor) -> Any:
        """Return int8 weights (out, in) as `multiply` takes them."""

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        """Return x @ weight.T in int32 or fp32, shape (n, out), for int8 x of shape (n, in)."""


class VnniKernel:
    """Our own loops for few tokens, oneDNN's for many, both on weights as they are stored.

    Needs AVX-512 VNNI or AVX-VNNI.
    """

    name = "VNNI"
    largest = MAX_INT8
    few_tokens = 32
    """Beyond, oneDNN's bringing the weights into its own order is cheaper than reading them once for each few."""

    def pack(self, weight: Tensor) -> Tensor:
        return weight

    def multiply(self, x: Tensor, packed: Tensor) -> Tensor:
        return torch._int_mm(x, packed.t())


class OneDnnKernel:
    """oneDNN with packed weights, for CPUs that our own loop is not written for.

    Without VNNI or its like on ARM, sums of two products saturate at 16 bits, so tokens get 7 bits there.
    """

    few_tokens = 0

    def __init__(self, *, has_dot_products: bool) -> None:
        self.name = "oneDNN" if has_dot_products else "oneDNN, 7-bit activations"
        self.largest = MAX_INT8 if has_dot_products else MAX_INT8 // 2

    def pack(self, weight: Tensor) -> Any:
        no_scales, no_offsets = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.long)
        return torch.ops.onednn.qlinear_prepack(weight, None), no_scales, no_offsets

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        weight, scales, offsets = packed
        zero = self.largest + 1
        unsigned = x.view(torch.uint8) + zero
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, zero, weight, scales, offsets, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


def choose_kernel(capabilities: Mapping[str, Any]) -> Int8Kernel:
    """Return the fastest kernel that is exact, by what `torch.cpu.get_capabilities` reports and by trying it.

    Its loops are compiled before, in another process, where this processor has none kept.
    """
    ensure_compiled()
    has_vnni = capabilities.get("avx512_vnni") or capabilities.get("avx_vnni")
    has_dot_products = capabilities.get("dot") or capabilities.get("i8mm")
    if has_vnni and _is_exact(VnniKernel()):
        return VnniKernel()
    if has_dot_products and _is_exact(OneDnnKernel(has_dot_products=True)):
        return OneDnnKernel(has_dot_products=True)
    return OneDnnKernel(has_dot_products=False)


def _is_exact(kernel: Int8Kernel) -> bool:
    """Try the largest products, of which two saturate 16 bits where a CPU adds them up there."""
    tokens = torch.full((64, 256), kernel.largest, dtype=torch.int8)
    tokens[::2] *= -1
    weight = torch.full((64, 256), MAX_INT8, dtype=torch.int8)
    weight[::3] *= -1
    expected = tokens.long() @ weight.long().T
    if not torch.equal(kernel.multiply(tokens, kernel.pack(weight)).long(), expected):
        return False
    few = tokens[: kernel.few_tokens]
    if not len(few):
        return True
    ones, zeros = torch.ones(len(weight)), torch.zeros(len(weight))
    found = few_linear(few.float(), (weight.numpy(), ones.numpy(), zeros.numpy()))
    return torch.allclose(found, expected[: len(few)].float())


def round_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 rows in [-127, 127] and their fp32 scales, shape (out,), for weights of shape (out, in)."""
    rounded, scales = torch.empty(weight.shape, dtype=torch.int8), torch.empty(len(weight))
    for start in range(0, len(weight), _ROWS_AT_ONCE):
        rows, its_rounded, its_scales = (part[start : start + _ROWS_AT_ONCE] for part in (weight, rounded, scales))
        exact = rows.float()
        torch.div(exact.abs().amax(dim=1).clamp_(min=float(SMALLEST_MAGNITUDE)), MAX_INT8, out=its_scales)
        its_rounded.copy_((exact / its_scales[:, None]).round_())
    return rounded, scales


class _Int8Part(nn.Module):
    """Weights of 8 bits, as the kernel takes them; they never change, so copies of a model share them."""

    def __init__(self, weights: Any, num_bytes: int) -> None:
        super().__init__()
        self.weights = weights
        self.num_bytes = num_bytes

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Int8Linear(_Int8Part):
    """`nn.Linear` for inference, fp32 in and out."""

    def __init__(self, weight: Tensor, scales: Tensor, bias: Tensor, kernel: Int8Kernel) -> None:
        super().__init__(kernel.pack(weight), weight.numel())
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)
        self.kernel = kernel
        self._scales = scales
        self._for_few = (weight.numpy(), scales.numpy(), self.bias.numpy()) if kernel.few_tokens else None

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= self.kernel.few_tokens:
            y = few_linear(rows, self.for_few)
        else:
            y = self.after_rounding(*round_tokens(rows, self.kernel.largest))
        return y.view(*x.shape[:-1], -1)

    def after_rounding(self, tokens: Tensor, scales: Tensor) -> Tensor:
        """Return the outputs, shape (n, out), for tokens that `round_tokens` has made."""
        return scale_back(self.kernel.multiply(tokens, self.weights), scales, self._scales, self.bias)

    def gelu_rounded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the GELU of the outputs for x (n, in), as tokens for `after_rounding` of the next layer."""
        largest = self.kernel.largest
        tokens, scales = round_tokens(x, largest)
        return gelu_rounded(self.kernel.multiply(tokens, self.weights), scales, self._scales, self.bias, largest)

    @property
    def for_few(self) -> Layer:
        """What `few_linear` takes; only for a kernel that leaves weights unpacked."""
        assert self._for_few is not None
        return self._for_few


class Int8FeedForward(nn.Module):
    """`moondream.FeedForward` of two Int8Linear, between which nothing large is written in fp32."""

    def __init__(self, fc1: Int8Linear, fc2: Int8Linear) -> None:
        super().__init__()
        self.fc1, self.fc2 = fc1, fc2

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= self.fc1.kernel.few_tokens:
            y = few_feed_forward(rows, self.fc1.for_few, self.fc2.for_few)
        else:
            y = self.fc2.after_rounding(*self.fc1.gelu_rounded(rows))
        return y.view(*x.shape[:-1], -1)


class Int8ParallelBlock:
    """Decodes a step of a block whose attention and feed-forward stand side by side, for a few sequences at once."""

    def __init__(
        self, norm: nn.LayerNorm, qkv: Int8Linear, proj: Int8Linear, mlp: Int8FeedForward, num_kv_heads: int
    ) -> None:
        """Take layers whose kernel is for few tokens."""
        self.most_tokens = qkv.kernel.few_tokens
        self._norm = (norm.weight.numpy(), norm.bias.numpy(), norm.eps)
        self._layers = (qkv.for_few, proj.for_few, mlp.fc1.for_few, mlp.fc2.for_few)
        self._num_kv_heads = num_kv_heads

    def __call__(self, hidden: Tensor, caches: Sequence[Int8Cache], layer: int, rotation: Rotation) -> Tensor:
        """Return what `few_parallel_block` does, for at most `most_tokens`."""
        return few_parallel_block(hidden, self._norm, self._layers, self._num_kv_heads, caches, layer, rotation)


class Int8Embedding(_Int8Part):
    """`nn.Embedding` for inference."""

    def __init__(self, weight: Tensor, scales: Tensor) -> None:
        super().__init__(weight, weight.numel())
        self._scales = scales

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.weights[ids] * self._scales[ids][..., None]
        return y


def weight_bytes(model: nn.Module) -> int:
    """Return the memory of all weights; what an embedding and a layer share counts once."""
    rounded = {id(part.weights): part.num_bytes for part in model.modules() if isinstance(part, _Int8Part)}
    return sum(parameter.nbytes for parameter in model.parameters()) + sum(rounded.values())
