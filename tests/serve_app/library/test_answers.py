"""Answers of `POST /search`: citations, what is left out, what happens when the answerer fails, and the stream."""

import asyncio
import json
import time
from typing import Any

import pytest

from deployments.answerer.types import AnswerEnd, AnswerPart, AnswerSentence, Quote
from deployments.errors import DeadlineExceeded, ModelLoading, ProcessingFailed, ServerBusy
from deployments.library.types import ChunkRecord, SearchHit
from serve_app import answers
from serve_app.answers import AnswerText
from serve_app.settings import AppConfig
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.library.conftest import LibraryApi

TEXT = "The travel budget is 4,200 euros. It was raised in May."
QUESTION = {"query": "travel budget"}


@pytest.fixture
def chunk_id(api: LibraryApi) -> str:
    """The passage that the question finds."""
    api.upload(b"budget", "budget.txt")
    api.index((TEXT, {"type": "document"}, []))
    [result] = search(api, answer=False)["results"]
    found: str = result["chunk_id"]
    return found


def search(api: LibraryApi, **body: Any) -> Any:
    response = api.client.post("/search", json={**QUESTION, **body})
    assert response.status_code == 200, response.text
    return response.json()


def stream(api: LibraryApi, **body: Any) -> list[tuple[str, Any]]:
    """Return the events of a streamed search: names and data."""
    with api.client.stream("POST", "/search", json={**QUESTION, **body, "stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        text = response.read().decode()
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def hit(chunk_id: str) -> SearchHit:
    chunk = ChunkRecord(chunk_id, 1, "budget.txt", "document", 0, TEXT, {"type": "document"}, [])
    return SearchHit(chunk, 1.0, 1.0)


def said(chunk_id: str) -> list[AnswerPart]:
    """Return the parts of an answer of a language model: two that are backed, and one that is not between them."""
    return [
        AnswerSentence("It is 4,200 euros.", (Quote(chunk_id, 0, 33),), supported=True),
        AnswerSentence("That is a lot.", (), supported=False),
        AnswerSentence("It rose in May, to 4,200.", (Quote(chunk_id, 34, 55), Quote(chunk_id, 0, 33)), supported=True),
        AnswerEnd("a model", note="A note."),
    ]


def test_each_sentence_has_the_numbers_of_its_quotes(api: LibraryApi, graph: FakeGraph, chunk_id: str) -> None:
    graph.answerer.parts = said(chunk_id)
    body = search(api)
    assert body["response"] == "It is 4,200 euros. [1] It rose in May, to 4,200. [2][1]"
    assert [(c["citation_number"], c["quote"], c["chars"]) for c in body["citations"]] == [
        (1, TEXT[:33], [0, 33]),
        (2, TEXT[34:], [34, 55]),
    ]
    assert all(c["chunk_id"] == chunk_id and c["supported"] for c in body["citations"])
    assert (body["answered_by"], body["answer_note"]) == ("a model", "A note.")


def test_unsupported_sentences_are_left_out_or_shown_with_a_mark() -> None:
    for show_unsupported, expected in (
        (False, "It is 4,200 euros. [1]"),
        (True, "It is 4,200 euros. [1] Why? [unsupported]"),
    ):
        text = AnswerText([hit("c1")], show_unsupported=show_unsupported)
        for part in (
            said("c1")[0],
            AnswerSentence("Why?", (Quote("c1", 0, 3),), supported=False),
            AnswerEnd("a model"),
        ):
            text.add(part)
        assert text.response == expected
        assert len(text.citations) == 1


@pytest.mark.parametrize(
    ("reason", "response"),
    [
        ("nothing_relevant", "Nothing in the library answers this."),
        ("nothing_supported", "The library has passages near this question, but none that answers it."),
    ],
)
def test_no_answer_is_said_without_a_citation(
    api: LibraryApi, graph: FakeGraph, chunk_id: str, reason: Any, response: str
) -> None:
    graph.answerer.parts = [
        AnswerSentence("That is a lot.", (Quote(chunk_id, 0, 5),), supported=False),
        AnswerEnd("a model", no_answer=reason),
    ]
    body = search(api)
    assert (body["response"], body["citations"], body["answered_by"]) == (response, [], "a model")


def test_without_results_the_answerer_is_not_asked(api: LibraryApi, graph: FakeGraph, chunk_id: str) -> None:
    body = search(api, query="zebra")
    assert (body["results"], body["response"]) == ([], "Nothing in the library answers this.")
    assert graph.answerer.deadlines == []


def test_an_answer_is_made_from_ten_passages_though_fewer_are_shown(api: LibraryApi, graph: FakeGraph) -> None:
    api.upload(b"many", "many.txt")
    api.index(*((f"Travel budget number {number}.", {"type": "document"}, []) for number in range(12)))
    assert len(search(api, limit=2)["results"]) == 2
    assert len(search(api, limit=11)["results"]) == 11
    assert graph.answerer.num_hits == [10, 11]


@pytest.mark.parametrize(
    "error",
    [
        ModelLoading("The model is still loading."),
        ServerBusy("The queue of Answerer is full."),
        DeadlineExceeded("Answerer was still working"),
        ProcessingFailed("Answerer stopped while it was working on this request."),
        RuntimeError("a bug"),
    ],
)
def test_when_the_answerer_fails_the_answer_quotes_the_passages_and_says_why(
    api: LibraryApi, graph: FakeGraph, chunk_id: str, error: Exception
) -> None:
    graph.answerer.parts = [AnswerSentence("Nonsense.", (), supported=False)]
    graph.answerer.error = error
    body = search(api)
    assert body["results"]
    assert body["response"].startswith("The travel budget is 4,200 euros.")
    assert body["answered_by"] == "extractive"
    assert ("The answerer failed" if isinstance(error, RuntimeError) else str(error)) in body["answer_note"]
    assert body["citations"][0]["quote"] == "The travel budget is 4,200 euros."


def test_what_is_backed_stands_when_the_answerer_fails_afterwards(
    api: LibraryApi, graph: FakeGraph, chunk_id: str
) -> None:
    graph.answerer.parts = said(chunk_id)[:1]
    graph.answerer.error = ProcessingFailed("Answerer stopped.")
    body = search(api)
    assert body["response"] == "It is 4,200 euros. [1]"
    assert body["answered_by"] == "Qwen2.5-1.5B-Instruct"
    assert body["answer_note"] == "The answer is not complete. Answerer stopped."


@pytest.mark.parametrize(("request_s", "answer_s", "expected"), [(30, 45, 30 - answers.MARGIN_S), (60, 10, 10)])
def test_the_answerer_gets_its_own_time_and_must_be_done_before_the_requests_deadline(
    graph: FakeGraph, request_s: float, answer_s: float, expected: float
) -> None:
    context = graph.context(AppConfig.model_validate({"answerer": {"timeout_s": answer_s}}))
    now = time.time()

    async def ask() -> None:
        assert [part async for part in answers.answer_parts(context, "budget", [hit("c1")], now + request_s)]

    asyncio.run(ask())
    assert graph.answerer.deadlines == [pytest.approx(now + expected, abs=2)]


def test_a_stream_has_the_results_then_each_sentence_with_its_citations_then_all(
    api: LibraryApi, graph: FakeGraph, chunk_id: str
) -> None:
    graph.answerer.parts = said(chunk_id)
    events = stream(api)
    assert [name for name, _ in events] == ["results", "token", "citation", "token", "citation", "done"]
    data = [event for _, event in events]
    whole = search(api)
    assert data[0]["results"] == whole["results"]
    assert "".join(event["text"] for name, event in events if name == "token") == whole["response"]
    assert [event for name, event in events if name == "citation"] == whole["citations"]
    assert data[-1].keys() == {"response", "citations", "query_time", "answered_by", "answer_note"}
    assert all(data[-1][key] == whole[key] for key in ("response", "citations", "answered_by", "answer_note"))


def test_a_stream_without_an_answer_or_without_results_ends_well(api: LibraryApi, chunk_id: str) -> None:
    (first, _), (last, done) = stream(api, answer=False)
    assert (first, last, done["answered_by"]) == ("results", "done", None)
    names = [name for name, _ in stream(api, query="zebra")]
    assert names == ["results", "token", "done"]


def test_an_error_before_the_results_is_no_stream(api: LibraryApi) -> None:
    response = api.client.post("/search", json={"query": "", "stream": True})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"


def test_an_error_after_the_results_is_an_event_with_the_documented_body(
    api: LibraryApi, graph: FakeGraph, chunk_id: str
) -> None:
    graph.answerer.parts = [AnswerSentence("Of another passage.", (Quote("unknown", 0, 1),), supported=True)]
    (first, _), (last, body) = stream(api)
    assert (first, last) == ("results", "error")
    assert (body["success"], body["error"]["code"]) == (False, "PROCESSING_FAILED")


def test_a_client_that_leaves_stops_the_answer(api: LibraryApi, graph: FakeGraph, chunk_id: str) -> None:
    graph.answerer.parts, graph.answerer.pause_s = said(chunk_id), 0.05
    context = api.client.app.state.context  # type: ignore[attr-defined]

    async def leave_after_the_first_part() -> None:
        parts = answers.answer_parts(context, "travel budget", [hit(chunk_id)], time.time() + 30)
        await anext(parts)
        await parts.aclose()

    api.run(leave_after_the_first_part)
    assert graph.answerer.num_cancelled == 1
