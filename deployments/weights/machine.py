"""Whether this machine can serve the chosen models: its memory and its CPU."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.inference.cpu import vnni_vector_bytes
from deployments.weights.checkpoint import ModelCheckpoint
from deployments.weights.download import format_bytes

OTHER_BYTES = 1_200_000_000
"""Estimated memory of Ray's processes and of ours without the models."""
FEW_CORES = 4


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    is_ok: bool
    sentence: str


def needed_bytes(models: Iterable[ModelCheckpoint]) -> int:
    """Return the memory that serving these models needs in all."""
    return sum(model.memory_bytes for model in models) + OTHER_BYTES


def check_memory(needed: int, total: int, available: int, settings: Iterable[str]) -> Finding:
    """Judge a machine's memory, all in bytes; `settings` are the names of the settings that lower the need."""
    figures = f"{format_bytes(total)} in all, {format_bytes(available)} free, about {format_bytes(needed)} needed"
    if total < needed:
        return Finding(False, f"Memory: {figures}. Choose smaller models: {', '.join(settings)}.")
    if available < needed:
        return Finding(False, f"Memory: {figures}. Close other programs, or a server that is already running.")
    return Finding(True, f"Memory: {figures}.")


def check_cpu(capabilities: Mapping[str, Any], cores: int, precisions: Collection[str]) -> list[Finding]:
    """Judge a CPU by what `torch.cpu.get_capabilities` reports and its number of physical cores.

    `precisions` are those of the chosen models.
    """

    def has(*names: str) -> bool:
        return any(capabilities.get(name) for name in names)

    features = {
        "AVX2": has("avx2"),
        "AVX-512": has("avx512_f"),
        "NEON": has("neon"),
        "VNNI": bool(vnni_vector_bytes(capabilities)),
        "dot product": has("dot"),
        "int8 matrices": has("i8mm", "amx_int8"),
        "bf16": has("avx512_bf16", "amx_bf16", "bf16"),
    }
    present = ", ".join(name for name, is_present in features.items() if is_present) or "none that speed up models"
    findings = []
    if features["AVX2"] or features["NEON"]:
        findings.append(Finding(True, f"Instructions: {present}."))
    else:
        findings.append(Finding(False, f"Instructions: {present}. Without AVX2 or NEON, answers take minutes."))
    if "bf16" in precisions and not features["bf16"]:
        findings.append(Finding(True, "No bf16 instructions: bf16 saves memory here, but its arithmetic is emulated."))
    advice = " Fewer than four make answers slower." if cores < FEW_CORES else ""
    findings.append(Finding(True, f"Cores: {cores}.{advice}"))
    return findings
