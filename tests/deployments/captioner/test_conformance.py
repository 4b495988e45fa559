import json
import shutil
from pathlib import Path

import pytest

from deployments.captioner.conformance import main
from deployments.project import project_folder

FOLDER = project_folder() / "tests" / "data" / "conformance" / "moondream2-tiny"


def _copy_of_one_image(folder: Path) -> dict[str, dict[str, dict[str, list[int]]]]:
    for name in ("config.json", "model.safetensors", "expected.safetensors", "small.png"):
        shutil.copy(FOLDER / name, folder)
    return {"small": json.loads((FOLDER / "expected.json").read_text())["small"]}


def test_every_number_and_id_equals_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(FOLDER)]) == 0
    *lines, verdict = capsys.readouterr().out.splitlines()
    # For each of four images: size, tiling, crops, prefix, embeddings; logits and ids of three prompts.
    assert len(lines) == 4 * (5 + 3 * 2)
    assert all(line.startswith("ok ") for line in lines)
    assert verdict.startswith("Conforms; largest relative error")


@pytest.mark.parametrize(
    ("wrong_ids", "difference"),
    [
        ([123, 456, 7], "first difference at position 2: 120 instead of 7"),
        ([123, 456, 120], "first difference at position 3: 70 instead of the end"),
    ],
)
def test_the_first_differing_id_is_named(
    wrong_ids: list[int], difference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = _copy_of_one_image(tmp_path)
    expected["small"]["caption.short"]["greedy_ids"] = wrong_ids
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    assert main([str(tmp_path)]) == 1
    *lines, verdict = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("DIFF")] == [
        f"DIFF  small.caption.short.greedy_ids: {difference}"
    ]
    assert verdict.startswith("1 of 11 comparisons differ; ")


def test_a_folder_without_a_reference_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "expected.json" in capsys.readouterr().err


def test_the_quantization_error_of_int8_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(FOLDER), "--precision", "int8"]) == 0
    *_, embeddings, logits, ids = capsys.readouterr().out.splitlines()
    assert embeddings.startswith("image_embeddings: at most ")
    assert 0.1 < float(embeddings.split()[3].rstrip("%")) < 5
    assert 0.1 < float(logits.split()[3].rstrip("%")) < 10
    assert ids.startswith("greedy_ids: ")
    assert "of 12 answers equal" in ids
