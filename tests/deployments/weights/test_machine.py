from pathlib import Path
from typing import Any

import pytest

from deployments.weights.machine import check_cpu, check_memory, needed_bytes
from prism.weights import describe_models
from serve_app.settings import AppConfig

GB = 10**9
SETTINGS = ("transcriber.model", "captioner.precision")
MINIATURES = {
    "captioner": {"model": "checkpoints/mini/moondream-mini"},
    "transcriber": {"model": "checkpoints/mini/whisper-mini.pt"},
}


def needed(**args: Any) -> int:
    return needed_bytes(describe_models(AppConfig.model_validate(args)))


def test_enough_memory_is_ok() -> None:
    assert check_memory(5 * GB, 16 * GB, 9 * GB, SETTINGS).is_ok


def test_too_little_memory_asks_for_smaller_models() -> None:
    finding = check_memory(9 * GB, 8 * GB, 7 * GB, SETTINGS)
    assert not finding.is_ok
    assert "smaller models" in finding.sentence


def test_too_little_free_memory_asks_to_close_other_programs() -> None:
    finding = check_memory(5 * GB, 16 * GB, 2 * GB, SETTINGS)
    assert not finding.is_ok
    assert "Close other programs" in finding.sentence


def test_int8_needs_least_memory_except_for_miniatures() -> None:
    fp32, bf16, int8 = (needed(captioner={"precision": precision}) for precision in ("fp32", "bf16", "int8"))
    assert 16 * GB > fp32 > bf16 > int8 > needed(**MINIATURES)
    assert int8 < 6.6 * GB
    assert int8 - needed(answerer={"model": "none"}) == pytest.approx(1.4 * GB, rel=0.05)


def test_memory_of_the_users_own_checkpoints_depends_on_the_size_of_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(4 * GB)  # a sparse file
    with (tmp_path / "mine.pt").open("wb") as weights:
        weights.truncate(1 * GB)
    own = {"captioner": {"model": str(folder), "cache_mb": 0}, "transcriber": {"model": str(tmp_path / "mine.pt")}}
    nothing = {"captioner": {"model": "none", "cache_mb": 0}, "transcriber": {"model": "none.pt"}}
    assert needed(**own) - needed(**nothing) == (2 + 2) * GB


def test_a_laptop_of_the_target_class_is_ok_and_its_bf16_is_reported_as_emulated() -> None:
    findings = check_cpu({"avx2": True, "avx_vnni": True, "avx512_f": False}, 10, {"bf16", "int8"})
    assert all(finding.is_ok for finding in findings)
    assert findings[0].sentence == "Instructions: AVX2, VNNI."
    assert "emulated" in findings[1].sentence


def test_an_arm_processor_is_ok() -> None:
    findings = check_cpu({"neon": True, "dot": True, "i8mm": True, "bf16": True}, 8, {"bf16"})
    assert [finding.is_ok for finding in findings] == [True, True]
    assert findings[0].sentence == "Instructions: NEON, dot product, int8 matrices, bf16."


def test_a_processor_without_vector_instructions_is_not_ok() -> None:
    assert not check_cpu({"sse2": True}, 8, {"fp32"})[0].is_ok


def test_few_cores_are_reported_as_slow() -> None:
    assert "slower" in check_cpu({"avx2": True}, 2, {"fp32"})[-1].sentence
