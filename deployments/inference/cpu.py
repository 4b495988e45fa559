"""What this CPU offers for int8 arithmetic, as torch reports it. Nothing is probed when this module is imported."""

from collections.abc import Mapping
from functools import cache

Capabilities = Mapping[str, object]
"""What `torch.cpu.get_capabilities` returns: for each instruction set, whether the CPU has it; and its name."""


def vnni_vector_bytes(capabilities: Capabilities) -> int:
    """Return the size in bytes of the widest vectors that VPDPBUSD can multiply: 64 or 32, or 0 without VNNI."""
    if capabilities.get("avx512_vnni"):
        return 64
    return 32 if capabilities.get("avx_vnni") else 0


def has_int8_dot_products(capabilities: Capabilities) -> bool:
    """Return whether an instruction sums products of bytes in 32 bits: x86 with VNNI, ARM with DOT or I8MM.

    Other x86 CPUs sum two products in 16 bits, which can saturate.
    """
    return bool(vnni_vector_bytes(capabilities) or capabilities.get("dot") or capabilities.get("i8mm"))


@cache
def local_vnni_vector_bytes() -> int:
    """Return `vnni_vector_bytes` of this machine's CPU."""
    import torch  # Not at the top: `weights.machine` imports this module and must not load torch.

    return vnni_vector_bytes(torch.cpu.get_capabilities())
