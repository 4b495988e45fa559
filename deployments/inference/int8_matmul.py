"""Matrix products of int8 tokens with int8 weights, and the choice between two kernels for them."""

from typing import Any, Protocol

import torch
from torch import Tensor

from deployments.errors import ModelNotLoaded
from deployments.inference.cpu import Capabilities, has_int8_dot_products, vnni_vector_bytes
from deployments.inference.precompile import ensure_compiled
from deployments.inference.quantization import QMAX
from deployments.inference.small_batch import small_batch_linear
from deployments.settings import KernelChoice


class Int8Kernel(Protocol):
    """Multiplies int8 tokens in [-qmax, qmax] with int8 weights, exactly where the sums fit into fp32's 24 bits."""

    name: str
    qmax: int
    max_small_batch: int
    """Up to so many tokens, `small_batch_linear` is faster; it takes weights that are not packed. 0 means never."""

    def pack(self, weight: Tensor) -> Any:
        """Return int8 weights of shape (out, in) in the layout that `multiply` takes."""

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        """Return x @ weight.T in int32 or fp32, shape (n, out), for int8 x of shape (n, in)."""


class VnniKernel:
    """Kernels of our own for a small batch, oneDNN for more tokens, both on weights as they are stored.

    Needs a CPU with AVX-512 VNNI or AVX-VNNI.
    """

    name = "VNNI"
    qmax = QMAX
    max_small_batch = 32
    """Beyond, it is cheaper that oneDNN reorders the weights in each call than to read them once per five tokens."""

    def pack(self, weight: Tensor) -> Tensor:
        return weight

    def multiply(self, x: Tensor, packed: Tensor) -> Tensor:
        return torch._int_mm(x, packed.t())


class OneDnnKernel:
    """OneDNN on packed weights, for any CPU.

    Without an instruction that adds int8 products in 32 bits, sums of two products saturate at 16 bits, so activations
    get 7 bits.
    """

    max_small_batch = 0

    def __init__(self, *, has_dot_products: bool) -> None:
        self.name = "oneDNN" if has_dot_products else "oneDNN, 7-bit activations"
        self.qmax = QMAX if has_dot_products else QMAX // 2

    def pack(self, weight: Tensor) -> Any:
        unit_scales, zero_points = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.long)
        return torch.ops.onednn.qlinear_prepack(weight, None), unit_scales, zero_points

    def multiply(self, x: Tensor, packed: Any) -> Tensor:
        weight, scales, zero_points = packed
        zero_point = self.qmax + 1
        unsigned = x.view(torch.uint8) + zero_point
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, zero_point, weight, scales, zero_points, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


def choose_kernel(choice: KernelChoice, capabilities: Capabilities) -> Int8Kernel:
    """Return the kernel that a setting asks for; "auto" means the fastest that is exact on this CPU.

    Exactness is tried, not assumed. The kernels that numba compiles are compiled first if the cache lacks them. Raises
    ModelNotLoaded for "vnni" on a CPU where it cannot be used.
    """
    has_vnni = bool(vnni_vector_bytes(capabilities))
    if choice == "vnni" and not has_vnni:
        raise ModelNotLoaded(
            "This CPU has neither AVX-512 VNNI nor AVX-VNNI, so kernel cannot be vnni. Set it to auto or onednn."
        )
    ensure_compiled()
    if choice != "onednn" and has_vnni:
        if _is_exact(VnniKernel()):
            return VnniKernel()
        if choice == "vnni":
            raise ModelNotLoaded(
                "The VNNI kernel computes wrong products on this CPU, so kernel cannot be vnni. "
                "Set it to auto or onednn."
            )
    exact = OneDnnKernel(has_dot_products=True)
    if has_int8_dot_products(capabilities) and _is_exact(exact):
        return exact
    return OneDnnKernel(has_dot_products=False)


def _is_exact(kernel: Int8Kernel) -> bool:
    """Multiply numbers of the largest magnitude: sums of two products saturate where a CPU adds them in 16 bits."""
    tokens = torch.full((64, 256), kernel.qmax, dtype=torch.int8)
    tokens[::2] *= -1
    weight = torch.full((64, 256), QMAX, dtype=torch.int8)
    weight[::3] *= -1
    expected = tokens.long() @ weight.long().T
    if not torch.equal(kernel.multiply(tokens, kernel.pack(weight)).long(), expected):
        return False
    small_batch = tokens[: kernel.max_small_batch]
    if not len(small_batch):
        return True
    ones, zeros = torch.ones(len(weight)), torch.zeros(len(weight))
    y = small_batch_linear(small_batch.float(), (weight.numpy(), ones.numpy(), zeros.numpy()))
    return torch.allclose(y, expected[: len(small_batch)].float())
