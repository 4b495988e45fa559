from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.answerer.llama import LlamaModel
from tests.deployments.answerer.tiny_gguf import write_model

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
