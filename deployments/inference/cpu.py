"""What this CPU offers for int8 arithmetic, from torch's own probe. Nothing is probed before the first call."""

from collections.abc import Mapping
from functools import cache
from typing import Any

Capabilities = Mapping[str, Any]
"""What `torch.cpu.get_capabilities` returns: names of instruction sets, true where the CPU has them."""


def vnni_vector_bytes(capabilities: Capabilities) -> int:
    """Return the width of the widest vectors that VPDPBUSD multiplies: 64 bytes, 32, or 0 without VNNI."""
    if capabilities.get("avx512_vnni"):
        return 64
    return 32 if capabilities.get("avx_vnni") else 0


def has_int8_dot_products(capabilities: Capabilities) -> bool:
    """Return whether an instruction adds up products of bytes in 32 bits: x86 with VNNI, ARM with DOT or I8MM.

    Other x86 CPUs add two products in 16 bits, which saturates.
    """
    return bool(vnni_vector_bytes(capabilities) or capabilities.get("dot") or capabilities.get("i8mm"))


@cache
def local_vnni_vector_bytes() -> int:
    """Return `vnni_vector_bytes` of this machine's CPU."""
    import torch  # Not above: `weights.machine` describes a CPU without it.

    return vnni_vector_bytes(torch.cpu.get_capabilities())
