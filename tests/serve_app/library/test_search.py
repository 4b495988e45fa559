"""`POST /search` and the history."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.errors import ModelLoading
from deployments.library.deployment import LibraryDeployment
from deployments.library.settings import LibraryConfig
from tests.serve_app.conftest import MakeApi
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.library.conftest import LibraryApi, WordVectors

PAGE = {"type": "document", "page": 5, "boxes": [[0.1, 0.2, 0.9, 0.22]]}


def test_uploads_and_searches_count_against_the_rate_limit(
    make_api: MakeApi, graph: FakeGraph, embedder: WordVectors, tmp_path: Path
) -> None:
    graph.library, graph.embedder = LibraryDeployment(LibraryConfig(folder=tmp_path)), embedder
    with TestClient(make_api(serving={"requests_per_hour": 2})) as client:
        assert client.post("/upload", files={"file": ("a.txt", b"One.")}).status_code == 200
        assert client.post("/search", json={"query": "one"}).status_code == 200
        for refused in (
            client.post("/search", json={"query": "one"}),
            client.post("/upload", files={"file": ("b.txt", b"Two.")}),
        ):
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
            assert 0 < int(refused.headers["Retry-After"]) <= 3600
        assert client.get("/files").json()["total"] == 1


@pytest.fixture
def filled(api: LibraryApi) -> LibraryApi:
    api.upload(b"%PDF-1.7\n1", "budget.pdf")
    api.index(("The travel budget for 2024 is 4,200 euros.", PAGE, []))
    api.upload(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64), "meeting.wav")
    api.index(("We meet on Tuesday.", {"type": "audio", "start": 3.0, "end": 4.5, "timestamp": "3.00s"}, []))
    return api


def search(api: LibraryApi, **body: Any) -> Any:
    response = api.client.post("/search", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_an_answer_quotes_the_best_passage_and_cites_it(filled: LibraryApi) -> None:
    body = search(filled, query="travel budget")
    [result] = body["results"]
    assert result["metadata"] == {
        "file_id": 1,
        "filename": "budget.pdf",
        "text": "The travel budget for 2024 is 4,200 euros.",
        "source_info": PAGE,
    }
    assert 0 < result["similarity"] <= 1
    assert body["response"] == "The travel budget for 2024 is 4,200 euros. [1]"
    assert body["answered_by"] == "extractive"
    assert body["citations"] == [
        {
            "citation_number": 1,
            "chunk_id": result["chunk_id"],
            "file_id": 1,
            "source_info": PAGE,
            "text_preview": "The travel budget for 2024 is 4,200 euros.",
            "quote": "The travel budget for 2024 is 4,200 euros.",
            "chars": [0, 42],
            "url": "/files/1/content#page=5",
            "page_url": f"/files/1/pages/5.png?chunk_id={result['chunk_id']}&chars=0-42",
            "supported": True,
        }
    ]
    assert set(body) == {"results", "response", "citations", "query_time", "answered_by", "answer_note"}


def test_without_an_answer_there_is_none(filled: LibraryApi) -> None:
    body = search(filled, query="travel budget", answer=False)
    assert body["results"]
    assert (body["response"], body["citations"], body["answered_by"]) == ("", [], None)
    assert body["answer_note"] == ""


def test_nothing_found_is_said(filled: LibraryApi) -> None:
    body = search(filled, query="zebra")
    assert (body["results"], body["citations"]) == ([], [])
    assert body["response"] == "Nothing in the library answers this."


@pytest.mark.parametrize(
    ("filter_type", "names"),
    [
        ("audio", ["meeting.wav"]),
        (["audio", "document"], ["budget.pdf", "meeting.wav"]),
        ("video", []),
        (None, ["budget.pdf", "meeting.wav"]),
    ],
)
def test_a_filter_takes_one_type_or_several(filled: LibraryApi, filter_type: Any, names: list[str]) -> None:
    body = search(filled, query="budget Tuesday", filter_type=filter_type)
    assert sorted(result["metadata"]["filename"] for result in body["results"]) == names


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "   "},
        {"query": "x" * 1001},
        {"query": 5},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": 101},
        {"query": "x", "limit": "5"},
        {"query": "x", "filter_type": "film"},
        {"query": "x", "answer": "yes"},
        {"query": "x", "stream": "yes"},
        {"query": "x", "stream": 0},
        {"query": "x", "top_k": 5},
        {"query": "x" * 70_000},
    ],
)
def test_a_wrong_request_is_refused(api: LibraryApi, body: Any) -> None:
    response = api.client.post("/search", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"


def test_without_the_model_a_search_says_how_far_it_is(api: LibraryApi, embedder: WordVectors) -> None:
    embedder.error = ModelLoading("all-MiniLM-L6-v2 is still loading (fetching model.safetensors, 12 of 91 MB).")
    response = api.client.post("/search", json={"query": "x"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "MODEL_NOT_LOADED"
    assert "12 of 91 MB" in response.json()["error"]["message"]
    assert "Retry-After" in response.headers


def test_searches_are_remembered_newest_first_until_they_are_deleted(filled: LibraryApi) -> None:
    search(filled, query="travel budget")
    search(filled, query="zebra")
    body = filled.client.get("/search/history").json()
    assert [(entry["query"], entry["results_count"]) for entry in body["history"]] == [
        ("zebra", 0),
        ("travel budget", 1),
    ]
    assert (body["total"], body["limit"], body["offset"]) == (2, 50, 0)
    assert set(body["history"][0]) == {"id", "query", "results_count", "search_time", "response_time_ms"}
    assert filled.client.delete("/search/history").json() == {"deleted": 2}
    assert filled.client.get("/search/history").json()["total"] == 0
