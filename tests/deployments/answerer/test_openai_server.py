"""A language model behind an OpenAI-compatible server: a real one of llama.cpp, and one that misbehaves."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import xllamacpp

from deployments.answerer.openai_server import OpenAIServerModel
from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, ModelNotLoaded
from tests.deployments.answerer import chat_server
from tests.deployments.answerer.chat_server import ChatServer
from tests.deployments.answerer.conftest import REPLY


def soon() -> Cancellation:
    return Cancellation(time.time() + 30)


@pytest.fixture(scope="module")
def llama_server(tiny_gguf: Path) -> Iterator[str]:
    """The URL of llama.cpp's own HTTP server, as `llama-server` runs it."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tiny_gguf)
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = 2048, 1, 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    yield server.listening_address
    del server


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def test_a_llama_server_answers_piece_by_piece(llama_server: str) -> None:
    model = OpenAIServerModel(llama_server, None)
    assert model.name == "tiny.gguf"
    assert model.prompt_tokens_per_s > 10
    assert model.count_tokens("x" * 100) == pytest.approx(90, abs=15)  # a token for each byte, and some around them
    pieces = list(model.complete("Answer.", "What is the budget?", 50, soon()))
    assert len(pieces) > 3
    assert "".join(pieces) == REPLY
    assert "".join(model.complete("Answer.", "Shorter.", 3, soon())) == "The travel budget"


def test_a_request_asks_for_the_most_probable_words(chat: ChatServer) -> None:
    model = OpenAIServerModel(chat.url, "second")
    assert list(model.complete("Be brief.", "Who?", 20, soon())) == ["Good", " day."]
    [request] = chat.requests
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("second", 0, 20)
    assert [message["content"] for message in request["messages"]] == ["Be brief.", "Who?"]
    assert model.count_tokens("four words, and more") == 5


def test_without_a_name_the_servers_first_model_answers(chat: ChatServer) -> None:
    assert OpenAIServerModel(chat.url, None).name == "first"


def test_a_cancelled_reply_raises_at_once_and_the_server_notices(chat: ChatServer) -> None:
    chat.pieces, chat.pause_s = ["word "] * 500, 0.02
    model = OpenAIServerModel(chat.url, None)
    cancellation = soon()
    pieces = model.complete("", "Who?", 500, cancellation)
    next(pieces)
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        next(pieces)
    end = time.monotonic() + 2
    while not chat.num_left:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_late_reply_raises_while_the_server_is_silent(chat: ChatServer) -> None:
    chat.pause_s = 1
    model = OpenAIServerModel(chat.url, None)
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        list(model.complete("", "Who?", 20, Cancellation(time.time() + 0.1)))
    assert time.monotonic() - start < 0.8


def test_a_server_that_is_not_there_is_named(chat: ChatServer) -> None:
    with pytest.raises(ModelNotLoaded, match=r"http://127\.0\.0\.1:9 cannot be used: the connection failed"):
        OpenAIServerModel("http://127.0.0.1:9", "x")


def test_a_server_that_refuses_is_quoted(chat: ChatServer) -> None:
    model = OpenAIServerModel(chat.url, None)
    chat.status, chat.error = 404, "model 'x' not found"
    with pytest.raises(ModelNotLoaded, match="status 404: model 'x' not found"):
        list(model.complete("", "Who?", 20, soon()))


@pytest.mark.parametrize("reply", ["not JSON", '{"error": {"message": "out of memory"}}', '{"choices": 5}'])
def test_a_stream_that_is_not_one_is_refused(chat: ChatServer, reply: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = OpenAIServerModel(chat.url, None)
    monkeypatch.setattr(chat_server.json, "dumps", lambda _: reply)
    with pytest.raises(ModelNotLoaded, match=r"not that of an OpenAI-compatible server|out of memory"):
        list(model.complete("", "Who?", 20, soon()))


def test_a_reply_that_breaks_off_is_not_taken_for_complete(chat: ChatServer) -> None:
    model = OpenAIServerModel(chat.url, None)
    chat.breaks_off = True
    with pytest.raises(ModelNotLoaded, match="broke off"):
        list(model.complete("", "Who?", 20, soon()))


def test_proxies_of_the_environment_are_not_used(chat: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    model = OpenAIServerModel(chat.url, None)
    assert list(model.complete("", "Who?", 20, soon())) == ["Good", " day."]
