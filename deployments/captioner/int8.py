"""Linear layers and embeddings with weights of 8 bits: a quarter of the memory, in the arithmetic that CPUs do fastest.

Weights are rounded per output channel (row), activations per token while they are multiplied, both symmetrically:
a token with large values costs no other its precision, and what a token becomes does not depend on its neighbours.
"""

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

MAX_INT8 = 127
SMALLEST_MAGNITUDE = 1e-30
"""Of a token: one that is all zeros is divided by this instead of by zero."""


class Int8Kernel(Protocol):
    """Multiplies fp32 activations in [-1, 1] with packed int8 weights."""

    name: str

    def pack(self, weight: Tensor, scales: Tensor) -> Any:
        """Return int8 weights (out, in), with an fp32 scale for each row, as `multiply` takes them."""

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        """Return x @ (scales * weight).T in fp32, shape (n, out), for x of shape (n, in), which is rounded."""


class FbgemmKernel:
    """FBGEMM, for AVX-512 with VNNI; elsewhere sums of two products would saturate at 16 bits."""

    name = "fbgemm (AVX-512 VNNI)"

    def pack(self, weight: Tensor, scales: Tensor) -> Any:
        torch.backends.quantized.engine = "fbgemm"
        no_offsets = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():
            # Deprecated in favour of oneDNN's operator below, which takes longer for a few rows; torch is pinned.
            warnings.filterwarnings("ignore", ".*quantized tensor creation functions", UserWarning)
            quantized = torch._make_per_channel_quantized_tensor(weight, scales.double(), no_offsets, 0)
        return torch.ops.quantized.linear_prepack(quantized, None)

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x, 1 / MAX_INT8, MAX_INT8 + 1, packed
        )
        return product


class OneDnnKernel:
    """oneDNN, which chooses among AVX2, AVX2 with VNNI, AVX-512 and ARM by itself.

    Without VNNI, sums of two products saturate at 16 bits, so activations get 7 bits there.
    """

    def __init__(self, *, has_vnni: bool) -> None:
        self.name = "onednn (VNNI)" if has_vnni else "onednn (7-bit activations)"
        self._largest = MAX_INT8 if has_vnni else MAX_INT8 // 2

    def pack(self, weight: Tensor, scales: Tensor) -> Any:
        return torch.ops.onednn.qlinear_prepack(weight, None), scales, torch.zeros(len(scales), dtype=torch.long)

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        weight, scales, offsets = packed
        zero = self._largest + 1
        rounded = torch.add(zero, x, alpha=self._largest).round_().to(torch.uint8)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1 / self._largest, zero, weight, scales, offsets, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


def choose_kernel(capabilities: Mapping[str, Any]) -> Int8Kernel:
    """Return the fastest kernel that is exact on a CPU, by what `torch.cpu.get_capabilities` reports."""
    if capabilities.get("avx512_vnni"):
        return FbgemmKernel()
    has_vnni = any(capabilities.get(name) for name in ("avx_vnni", "dot", "i8mm"))
    return OneDnnKernel(has_vnni=has_vnni)


def round_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 rows in [-127, 127] and their fp32 scales, shape (out,), for weights of shape (out, in)."""
    weight = weight.float()
    scales = weight.abs().amax(dim=1).clamp_(min=SMALLEST_MAGNITUDE) / MAX_INT8
    return (weight / scales[:, None]).round_().to(torch.int8), scales


class Int8Linear(nn.Module):
    """`nn.Linear` for inference, fp32 in and out."""

    def __init__(self, weight: Tensor, scales: Tensor, bias: Tensor, kernel: Int8Kernel) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)
        self.weight_bytes = weight.numel()
        self._kernel = kernel
        self._packed = kernel.pack(weight, scales)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        magnitudes = rows.abs().amax(dim=1, keepdim=True).clamp_(min=SMALLEST_MAGNITUDE)
        product = self._kernel.multiply(rows / magnitudes, self._packed)
        torch.addcmul(self.bias, product, magnitudes, out=product)
        return product.view(*x.shape[:-1], -1)


class Int8Embedding(nn.Module):
    """`nn.Embedding` for inference."""

    def __init__(self, weight: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.weight_bytes = weight.numel()
        self._rows = weight
        self._scales = scales

    def forward(self, ids: Tensor) -> Tensor:
        return self._rows[ids] * self._scales[ids][..., None]


def weight_bytes(model: nn.Module) -> int:
    """Return the memory of all weights."""
    packed = (module.weight_bytes for module in model.modules() if isinstance(module, Int8Linear | Int8Embedding))
    return sum(parameter.nbytes for parameter in model.parameters()) + sum(packed)
