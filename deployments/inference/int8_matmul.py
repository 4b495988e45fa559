"""Two ways to multiply int8 tokens with int8 weights, and the choice between them by the setting `kernel`."""

from typing import Any, Protocol

import torch
from torch import Tensor

from deployments.errors import ModelNotLoaded
from deployments.inference.cpu import Capabilities, has_int8_dot_products, vnni_vector_bytes
from deployments.inference.precompile import ensure_compiled
from deployments.inference.quantization import QMAX
from deployments.inference.small_batch import small_batch_linear
from deployments.settings import KernelChoice


class Int8Matmul(Protocol):
    """Multiplies int8 tokens in [-qmax, qmax] with int8 weights; exact while the sums fit into fp32's 24 bits."""

    name: str
    """For the log."""
    qmax: int
    max_small_batch: int
    """The most tokens for which layers use `small_batch_linear`, with weights that are not packed; 0: they never do."""

    def pack(self, weight: Tensor) -> Any:
        """Return int8 weights of shape (out, in) in the layout that `multiply` takes."""

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        """Return x @ weight.T, int32 or fp32 (n, out), for int8 x (n, in) and the packed weight."""


class VnniMatmul:
    """Our own kernels for small batches, oneDNN for large ones, both on weights that are not packed.

    Needs a CPU with AVX-512 VNNI or AVX-VNNI.
    """

    name = "VNNI"
    qmax = QMAX
    max_small_batch = 32
    """Our kernels read the weights once per five tokens. For more tokens, oneDNN is faster, although it reorders the
    weights in each call."""

    def pack(self, weight: Tensor) -> Tensor:
        return weight

    def multiply(self, x: Tensor, packed: Tensor) -> Tensor:
        return torch._int_mm(x, packed.t())


class OneDnnMatmul:
    """OneDNN for all batches, on packed weights, for any CPU.

    Without an instruction that sums int8 products in 32 bits, sums of two products saturate at 16 bits; therefore
    activations get 7 bits.
    """

    max_small_batch = 0

    def __init__(self, *, sums_in_32_bits: bool) -> None:
        self.name = "oneDNN" if sums_in_32_bits else "oneDNN, 7-bit activations"
        self.qmax = QMAX if sums_in_32_bits else QMAX // 2

    def pack(self, weight: Tensor) -> Any:
        unit_scales, zero_points = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.long)
        return torch.ops.onednn.qlinear_prepack(weight, None), unit_scales, zero_points

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        weight, scales, zero_points = packed
        zero_point = self.qmax + 1
        unsigned = x.view(torch.uint8) + zero_point
        # The result is fp32: scale 1, zero point 0, no bias, no operation after the product.
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, zero_point, weight, scales, zero_points, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


def choose_matmul(choice: KernelChoice, capabilities: Capabilities) -> Int8Matmul:
    """Return what the setting `kernel` asks for; "auto" means the fastest that is exact on this CPU.

    Whether it is exact is tried. Before that, our own kernels are compiled, unless they are in the kernel cache. Raises
    ModelNotLoaded for "vnni" on a CPU where it cannot be used.
    """
    has_vnni = bool(vnni_vector_bytes(capabilities))
    if choice == "vnni" and not has_vnni:
        raise ModelNotLoaded(
            "This CPU has neither AVX-512 VNNI nor AVX-VNNI, so the setting `kernel` cannot be vnni. "
            "Set it to auto or onednn."
        )
    ensure_compiled()
    if choice != "onednn" and has_vnni:
        if _is_exact(VnniMatmul()):
            return VnniMatmul()
        if choice == "vnni":
            raise ModelNotLoaded(
                "The VNNI kernel computes wrong products on this CPU, so the setting `kernel` cannot be vnni. "
                "Set it to auto or onednn."
            )
    exact = OneDnnMatmul(sums_in_32_bits=True)
    if has_int8_dot_products(capabilities) and _is_exact(exact):
        return exact
    return OneDnnMatmul(sums_in_32_bits=False)


def _is_exact(matmul: Int8Matmul) -> bool:
    """Return whether products of the largest magnitudes are exact. They saturate where a CPU sums them in 16 bits."""
    tokens = torch.full((64, 256), matmul.qmax, dtype=torch.int8)
    tokens[::2] *= -1
    weight = torch.full((64, 256), QMAX, dtype=torch.int8)
    weight[::3] *= -1
    expected = tokens.long() @ weight.long().T
    if not torch.equal(matmul.multiply(tokens, matmul.pack(weight)).long(), expected):
        return False
    small_batch = tokens[: matmul.max_small_batch]
    if not len(small_batch):
        return True
    ones, zeros = torch.ones(len(weight)), torch.zeros(len(weight))
    y = small_batch_linear(small_batch.float(), (weight.numpy(), ones.numpy(), zeros.numpy()))
    return torch.allclose(y, expected[: len(small_batch)].float())
