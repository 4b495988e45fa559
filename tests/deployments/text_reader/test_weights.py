"""The models inside rapidocr are used only if they are those that were pinned."""

import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from deployments.errors import ModelNotLoaded
from deployments.settings import WeightsConfig
from deployments.text_reader import weights
from deployments.text_reader.settings import TextReaderConfig
from deployments.text_reader.weights import RECOGNITION, SHA256, describe, model_files


@pytest.fixture
def copied_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of the models, which is taken for that of the package."""
    folder = tmp_path / "models"
    shutil.copytree(model_files()[RECOGNITION].parent, folder)
    spec = ModuleSpec("rapidocr", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: spec)
    return folder


def test_the_installed_package_has_all_models() -> None:
    assert model_files().keys() == SHA256.keys()


def test_a_damaged_model_is_refused_with_what_to_do(copied_models: Path) -> None:
    path = copied_models / RECOGNITION
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelNotLoaded, match=f"{RECOGNITION} is damaged.*pip install --force-reinstall rapidocr"):
        model_files()


def test_a_missing_model_is_named(copied_models: Path) -> None:
    (copied_models / RECOGNITION).unlink()
    with pytest.raises(ModelNotLoaded, match=f"{RECOGNITION} is missing"):
        model_files()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelNotLoaded, match="The package rapidocr is not installed"):
        model_files()


def test_the_models_are_described_as_parts_of_their_package() -> None:
    checkpoint = describe(TextReaderConfig(), WeightsConfig())
    assert checkpoint.official is None
    assert checkpoint.label.startswith("PP-OCRv6-small, inside the package rapidocr 3.10.0")
    checkpoint.require_files()
