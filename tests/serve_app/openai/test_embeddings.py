import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.errors import ModelLoading
from tests.serve_app.conftest import ORIGIN, MakeApi
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.openai.requests import error_of

EMBEDDINGS = "/v1/embeddings"


class OneTokenAWord:
    """An embedder whose vectors point along the axis of their text's first letter."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def embed_query(self, text: str, *, deadline: float) -> Vectors:
        return await self.embed_passages([text], deadline=deadline)

    async def embed_passages(self, texts: Sequence[str], *, deadline: float) -> Vectors:
        self.batches.append(len(texts))
        return np.eye(VECTOR_DIM, dtype=np.float32)[[ord(text[0]) for text in texts]]

    async def count_tokens(self, texts: Sequence[str], *, deadline: float) -> list[int]:
        return [len(text.split()) for text in texts]


@pytest.fixture
def embedder(graph: FakeGraph) -> OneTokenAWord:
    graph.embedder = OneTokenAWord()
    return graph.embedder  # type: ignore[no-any-return]


@pytest.fixture
def client(make_api: MakeApi, embedder: OneTokenAWord) -> TestClient:
    return TestClient(make_api(), headers={"Origin": ORIGIN})


def post(client: TestClient, given: Any, **parameters: Any) -> Any:
    return client.post(EMBEDDINGS, json={"model": "all-MiniLM-L6-v2", "input": given, **parameters})


@pytest.mark.parametrize(("given", "letters", "num_tokens"), [("a dog", "a", 2), (["a dog", "b", "c c c"], "abc", 6)])
def test_vectors_come_in_the_order_of_the_texts(
    client: TestClient, embedder: OneTokenAWord, given: Any, letters: str, num_tokens: int
) -> None:
    body = post(client, given).json()
    assert [item["index"] for item in body["data"]] == list(range(len(letters)))
    assert [np.argmax(item["embedding"]) for item in body["data"]] == [ord(letter) for letter in letters]
    assert all(len(item["embedding"]) == VECTOR_DIM and item["object"] == "embedding" for item in body["data"])
    assert (body["object"], body["model"]) == ("list", "all-MiniLM-L6-v2")
    assert body["usage"] == {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


def test_base64_holds_the_same_numbers(client: TestClient, embedder: OneTokenAWord) -> None:
    [item] = post(client, "a", encoding_format="base64", dimensions=384, user="me").json()["data"]
    vector = np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
    assert vector.shape == (VECTOR_DIM,)
    assert np.argmax(vector) == ord("a")


def test_many_texts_are_embedded_in_steps(client: TestClient, embedder: OneTokenAWord) -> None:
    assert len(post(client, ["a"] * 150).json()["data"]) == 150
    assert embedder.batches == [64, 64, 22]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ([], "empty list"),
        ([""], "not empty"),
        (["a", "  "], "not empty"),
        ([None], "not empty"),
        ([1, 2], "token ids"),
        ([[1, 2]], "token ids"),
        ({"a": 1}, "must be text"),
        (1, "token ids"),
        (["a"] * 2049, "at most 2048"),
        ("a " * 255, "has 255 tokens; the model reads 254"),
        (["a", "b" * 40_000], "Text 1"),
        ("a" * 40_000, "longer than"),
        ("", "missing"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    client: TestClient, embedder: OneTokenAWord, given: Any, advice: str
) -> None:
    error = error_of(post(client, given), 400)
    assert advice in error["message"]
    assert embedder.batches == []


@pytest.mark.parametrize(
    ("name", "value"), [("dimensions", 256), ("dimensions", "384"), ("encoding_format", "int8"), ("task", "query")]
)
def test_other_options_are_refused(client: TestClient, embedder: OneTokenAWord, name: str, value: Any) -> None:
    assert error_of(post(client, "a", **{name: value}), 400)["param"] == name


def test_a_model_that_loads_says_when_to_come_again(
    client: TestClient, embedder: OneTokenAWord, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count_tokens(texts: Sequence[str], *, deadline: float) -> list[int]:
        raise ModelLoading("all-MiniLM-L6-v2 is loading.")

    monkeypatch.setattr(embedder, "count_tokens", count_tokens)
    response = post(client, "a")
    assert error_of(response, 503)["code"] == "model_not_loaded"
    assert int(response.headers["retry-after"]) > 0
