import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.answerer import settings
from deployments.answerer.llama import LlamaModel
from deployments.answerer.settings import MODELS, AnswererConfig
from tests.deployments.answerer.tiny_gguf import write_model
from tests.deployments.weights.conftest import hub
from tests.deployments.weights.hub import Hub

__all__ = ["hub"]

REPLY = "The travel budget for 2024 is 12,000 euros."


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf", REPLY)


@pytest.fixture(scope="session")
def endless_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("gguf") / "endless.gguf", "on and on", is_endless=True)


@pytest.fixture
def tiny(tiny_gguf: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(tiny_gguf, "tiny", threads=1, context_tokens=1024)
    yield model
    model.close()


@pytest.fixture
def endless(endless_gguf: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(endless_gguf, "endless", threads=1, context_tokens=8192)
    yield model
    model.close()


@pytest.fixture
def model_hub(hub: Hub, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub that has the tiny model in place of the default one, which is pinned accordingly."""
    name = AnswererConfig().model
    content = tiny_gguf.read_bytes()
    small = replace(MODELS[name], size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(settings.MODELS, name, small)
    hub.add_repository(small.repository, small.commit, small.commit, {small.file: content})
    return hub
