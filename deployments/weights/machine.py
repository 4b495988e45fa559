"""Whether this machine can serve the chosen models: memory, cores, instructions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.inference.cpu import vnni_vector_bytes
from deployments.weights.download import format_bytes
from serve_app.settings import AppConfig

CAPTIONER_BYTES = {"int8": 1_900_000_000, "bf16": 3_900_000_000, "fp32": 7_700_000_000}
"""moondream2's 1.93 billion weights in memory, for each precision."""
TRANSCRIBER_BYTES = {"tiny": 150_000_000, "base": 290_000_000, "small": 970_000_000, "medium": 3_060_000_000}
"""Whisper's weights in fp32, twice their files."""
OTHER_BYTES = 1_200_000_000
"""Ray's processes and ours without weights; an estimate."""
FEW_CORES = 4


@dataclass(frozen=True)
class Finding:
    is_fine: bool
    sentence: str


def needed_bytes(config: AppConfig) -> int:
    """Return the memory that serving takes in all; miniatures weigh next to nothing."""
    captioner = 0
    if config.captioner.model == "moondream2":
        captioner = CAPTIONER_BYTES[config.captioner.precision] + config.captioner.cache_mb * 1024 * 1024
    return captioner + TRANSCRIBER_BYTES.get(config.transcriber.model, 0) + OTHER_BYTES


def check_memory(needed: int, total: int, available: int) -> Finding:
    """Judge a machine's memory; all in bytes."""
    figures = f"{format_bytes(total)} in all, {format_bytes(available)} free, about {format_bytes(needed)} needed"
    if total < needed:
        return Finding(False, f"Memory: {figures}. Choose smaller models: WHISPER_MODEL_SIZE, captioner.precision.")
    if available < needed:
        return Finding(False, f"Memory: {figures}. Close other programs, or a server that already runs, first.")
    return Finding(True, f"Memory: {figures}.")


def check_cpu(capabilities: Mapping[str, Any], cores: int, precision: str) -> list[Finding]:
    """Judge a processor by what `torch.cpu.get_capabilities` reports and its physical cores."""

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
    present = ", ".join(name for name, is_present in features.items() if is_present) or "none that help"
    findings = []
    if features["AVX2"] or features["NEON"]:
        findings.append(Finding(True, f"Instructions: {present}."))
    else:
        findings.append(Finding(False, f"Instructions: {present}. Without AVX2 or NEON answers take minutes."))
    if precision == "bf16" and not features["bf16"]:
        findings.append(Finding(True, "No bf16 instructions: bf16 saves memory here, but its arithmetic is emulated."))
    advice = " Fewer than four are slower than the stated times." if cores < FEW_CORES else ""
    findings.append(Finding(True, f"Cores: {cores}.{advice}"))
    return findings
