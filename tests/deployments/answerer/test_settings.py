from pathlib import Path

import pytest
from pydantic import ValidationError

from deployments.answerer.settings import MODELS, AnswererConfig
from deployments.project import project_folder


@pytest.mark.parametrize(
    ("settings", "name", "has_model", "is_official"),
    [
        (AnswererConfig(), "Qwen2.5-1.5B-Instruct", True, True),
        (AnswererConfig(model="none"), "extractive", False, False),
        (AnswererConfig(model="models/own.gguf"), "own", True, False),
        (AnswererConfig(server_url="http://127.0.0.1:11434/v1/"), "the model at 127.0.0.1:11434", True, False),
        (AnswererConfig(model="none", server_url="http://localhost:1", server_model="q:4b"), "q:4b", True, False),
    ],
)
def test_the_model_is_named(settings: AnswererConfig, name: str, has_model: bool, is_official: bool) -> None:
    assert (settings.name, settings.has_model, settings.is_official) == (name, has_model, is_official)
    assert not settings.is_miniature


def test_a_file_may_be_named_from_the_projects_folder() -> None:
    assert AnswererConfig(model="own.gguf").checkpoint_path == project_folder() / "own.gguf"
    assert AnswererConfig(model="/models/own.gguf").checkpoint_path == Path("/models/own.gguf")


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"Qwen2\.5-1\.5B-Instruct.*\.gguf file, or none"):
        AnswererConfig(model="microsoft/DialoGPT-medium")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1234", "http://[::1]:8", "http://127.8.8.8"])
def test_a_server_on_this_machine_is_accepted(url: str) -> None:
    assert AnswererConfig(server_url=url).server_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.0.5:11434",
        "http://10.0.0.1",
        "https://api.openai.com",
        "http://localhost.example.com",
        "http://127.0.0.1@elsewhere.example",
        "http://user@127.0.0.1",
        "http://0.0.0.0:1",
        "127.0.0.1:11434",
        "file:///etc/passwd",
    ],
)
def test_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="a server on this machine"):
        AnswererConfig(server_url=url)


def test_every_model_of_the_table_is_free_and_pinned() -> None:
    for model in MODELS.values():
        assert model.licence == "Apache-2.0"
        assert (len(model.commit), len(model.sha256)) == (40, 64)
        assert model.size > 400_000_000
        assert model.file.endswith(".gguf")
