"""The language model's file comes from the hub at one commit, is checked, and needs no request afterwards."""

from pathlib import Path

import pytest

from deployments.answerer.settings import MODELS, AnswererConfig
from deployments.answerer.weights import describe, ensure_gguf, is_on_disk
from deployments.errors import ModelNotLoaded
from deployments.settings import WeightsConfig
from prism.weights import fetch, verify
from tests.deployments.weights.hub import Hub, flips_a_bit

NAME = "Qwen2.5-1.5B-Instruct"
MODEL = MODELS[NAME]
PATH = f"/{MODEL.repository}/resolve/{MODEL.commit}/{MODEL.file}"


def test_a_missing_model_is_fetched_once(model_hub: Hub, tiny_gguf: Path, tmp_path: Path) -> None:
    progress: list[str] = []
    assert not is_on_disk(AnswererConfig(), tmp_path)
    file = ensure_gguf(AnswererConfig(), tmp_path, progress.append)
    assert (file.name, file.path.name, file.revision) == (NAME, MODEL.file, MODEL.commit[:12])
    assert file.path.read_bytes() == tiny_gguf.read_bytes()
    assert any("fetching" in line and "of 1.3 MB" in line for line in progress)
    assert is_on_disk(AnswererConfig(), tmp_path)
    num_requests = len(model_hub.requests)
    assert ensure_gguf(AnswererConfig(), tmp_path, progress.append) == file
    assert len(model_hub.requests) == num_requests


def test_a_damaged_download_is_refused_with_what_to_do(model_hub: Hub, tmp_path: Path) -> None:
    model_hub.faults[PATH] = [flips_a_bit]
    with pytest.raises(ModelNotLoaded, match="arrived damaged.*prism weights fetch"):
        ensure_gguf(AnswererConfig(), tmp_path, lambda line: None)
    assert not is_on_disk(AnswererConfig(), tmp_path)


def test_the_commands_fetch_and_verify_it(model_hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = describe(AnswererConfig(), WeightsConfig(cache_dir=tmp_path))
    assert model.quantization is None  # it is quantized already, so there is nothing to shrink
    assert fetch([model]) == 0
    assert verify([model], []) == 0
    assert model.official is not None
    path = model.official.folder / MODEL.file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert verify([model], []) == 1
    assert "damaged" in capsys.readouterr().out


def test_a_file_of_ones_own_must_exist(tiny_gguf: Path, tmp_path: Path) -> None:
    own = AnswererConfig(model=str(tiny_gguf))
    assert ensure_gguf(own, tmp_path, lambda line: None).path == tiny_gguf
    assert describe(own, WeightsConfig(cache_dir=tmp_path)).memory_bytes > tiny_gguf.stat().st_size
    with pytest.raises(ModelNotLoaded, match=r"missing\.gguf does not exist.*answerer\.model"):
        ensure_gguf(AnswererConfig(model="missing.gguf"), tmp_path, lambda line: None)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (AnswererConfig(model="none"), "no language model"),
        (AnswererConfig(server_url="http://127.0.0.1:11434"), "the server http://127.0.0.1:11434"),
    ],
)
def test_without_a_file_there_is_nothing_to_fetch(
    config: AnswererConfig, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = describe(config, WeightsConfig(cache_dir=tmp_path))
    assert model.memory_bytes == 0
    assert fetch([model]) == 0
    assert verify([model], []) == 0
    assert words in capsys.readouterr().out
