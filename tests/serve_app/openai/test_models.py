import pytest
from starlette.testclient import TestClient

from serve_app.routes.openai.models import ALIASES
from tests.serve_app.openai.requests import chat, error_of


def test_the_models_that_serve_are_listed(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["moondream2", "whisper-base", "all-MiniLM-L6-v2"]
    assert all(model["object"] == "model" and model["created"] > 1.7e9 for model in body["data"])


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        *((alias, "moondream2") for alias in ALIASES["chat"]),
        *((alias, "whisper-base") for alias in ALIASES["transcription"]),
        *((alias, "all-MiniLM-L6-v2") for alias in ALIASES["embedding"]),
        ("whisper-base", "whisper-base"),
    ],
)
def test_a_name_that_stands_for_a_model_gives_its_own(client: TestClient, alias: str, name: str) -> None:
    assert client.get(f"/v1/models/{alias}").json()["id"] == name


def test_another_model_is_refused_with_the_names_that_there_are(client: TestClient, png_base64: str) -> None:
    error = error_of(client.post("/v1/chat/completions", json=chat(png_base64) | {"model": "whisper-1"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "moondream2" in error["message"]
    assert "gpt-4o-mini" in error["message"]
