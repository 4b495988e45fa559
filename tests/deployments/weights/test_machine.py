from deployments.weights.machine import check_cpu, check_memory, needed_bytes
from serve_app.settings import AppConfig

GB = 10**9


def test_enough_memory_is_fine() -> None:
    assert check_memory(5 * GB, 16 * GB, 9 * GB).is_fine


def test_a_machine_too_small_is_told_to_choose_smaller_models() -> None:
    finding = check_memory(9 * GB, 8 * GB, 7 * GB)
    assert not finding.is_fine
    assert "smaller models" in finding.sentence


def test_memory_in_use_is_told_to_be_freed() -> None:
    finding = check_memory(5 * GB, 16 * GB, 2 * GB)
    assert not finding.is_fine
    assert "Close other programs" in finding.sentence


def test_int8_needs_least_memory_but_for_miniatures() -> None:
    int8 = needed_bytes(AppConfig())
    fp32, bf16 = (
        needed_bytes(AppConfig.model_validate({"captioner": {"precision": precision}}))
        for precision in ("fp32", "bf16")
    )
    miniature = needed_bytes(
        AppConfig.model_validate({"captioner": {"model": "mini"}, "transcriber": {"model": "mini.pt"}})
    )
    assert 16 * GB > fp32 > bf16 > int8 > miniature
    assert int8 < 5 * GB


def test_a_laptop_of_the_target_class_is_fine_and_its_bf16_is_said_to_be_emulated() -> None:
    findings = check_cpu({"avx2": True, "avx_vnni": True, "avx512_f": False}, 10, "bf16")
    assert all(finding.is_fine for finding in findings)
    assert findings[0].sentence == "Instructions: AVX2, VNNI."
    assert "emulated" in findings[1].sentence


def test_an_arm_processor_is_fine() -> None:
    findings = check_cpu({"neon": True, "dot": True, "i8mm": True, "bf16": True}, 8, "bf16")
    assert [finding.is_fine for finding in findings] == [True, True]
    assert findings[0].sentence == "Instructions: NEON, dot product, int8 matrices, bf16."


def test_a_processor_without_vector_instructions_is_wrong() -> None:
    assert not check_cpu({"sse2": True}, 8, "fp32")[0].is_fine


def test_few_cores_are_said_to_be_slow() -> None:
    assert "slower" in check_cpu({"avx2": True}, 2, "fp32")[-1].sentence
