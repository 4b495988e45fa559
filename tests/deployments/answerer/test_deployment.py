"""The answerer's replica: when it asks the model, when it quotes passages, and when the model leaves memory."""

import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.answerer.answering import NO_MODEL, NO_TIME
from deployments.answerer.deployment import AnswererDeployment
from deployments.answerer.settings import MODELS, AnswererConfig
from deployments.answerer.types import AnswerEnd, AnswerPart, AnswerSentence
from deployments.library.types import ChunkRecord, SearchHit
from deployments.settings import WeightsConfig
from tests.deployments.answerer.chat_server import ChatServer
from tests.deployments.answerer.conftest import REPLY
from tests.deployments.weights.hub import Hub, pauses_halfway

PASSAGE = f"We met in Lisbon. {REPLY} The next meeting is in May."
QUESTION = "What is the travel budget for 2024?"


def hits(text: str = PASSAGE) -> list[SearchHit]:
    chunk = ChunkRecord("c1", 1, "notes.txt", "document", 0, text, {"type": "document"}, [])
    return [SearchHit(chunk, 0.9, 1.0)]


def replica(tmp_path: Path, **settings: Any) -> AnswererDeployment:
    return AnswererDeployment(AnswererConfig(**settings), WeightsConfig(cache_dir=tmp_path), lazy=True)


async def answer(answerer: AnswererDeployment, seconds: float = 30.0) -> tuple[list[AnswerSentence], AnswerEnd]:
    parts: list[AnswerPart] = [part async for part in answerer.answer(QUESTION, hits(), deadline=time.time() + seconds)]
    *sentences, end = parts
    assert isinstance(end, AnswerEnd)
    return [sentence for sentence in sentences if isinstance(sentence, AnswerSentence)], end


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer(pieces=[f" {word}" for word in REPLY.split()]) as server:
        yield server


def test_the_model_answers_and_each_sentence_has_its_quote(tmp_path: Path, tiny_gguf: Path) -> None:
    async def run() -> None:
        answerer = replica(tmp_path, model=str(tiny_gguf))
        assert (await answerer.status()).state == "not_loaded"
        (sentence, *others), end = await answer(answerer)
        assert (sentence.text, sentence.supported) == (REPLY, True)
        [quote] = sentence.quotes
        assert PASSAGE[quote.start : quote.end] == REPLY
        assert end == AnswerEnd("tiny")
        assert await answer(answerer) == ([sentence, *others], end)
        status = await answerer.status()
        assert (status.name, status.state, status.threads) == (
            "tiny",
            "loaded",
            max(1, psutil.cpu_count(logical=False) - 1),
        )
        assert status.weight_bytes == tiny_gguf.stat().st_size
        answerer.check_health()

    asyncio.run(run())


def test_a_server_answers_in_place_of_a_file(tmp_path: Path, chat: ChatServer) -> None:
    async def run() -> None:
        answerer = replica(tmp_path, server_url=chat.url)
        (sentence, *_), end = await answer(answerer)
        assert (sentence.text, end.answered_by, end.note) == (REPLY, "first", "")

    asyncio.run(run())


def test_without_a_model_passages_are_quoted(tmp_path: Path) -> None:
    async def run() -> None:
        answerer = replica(tmp_path, model="none")
        sentences, end = await answer(answerer)
        assert REPLY in [sentence.text for sentence in sentences]
        assert (end.answered_by, end.note) == ("extractive", NO_MODEL)
        status = await answerer.status()
        assert (status.name, status.state, status.detail) == ("extractive", "loaded", NO_MODEL)

    asyncio.run(run())


def test_while_the_model_is_fetched_passages_are_quoted_at_once(tmp_path: Path, model_hub: Hub) -> None:
    arrived = threading.Event()
    model = MODELS[AnswererConfig().model]
    model_hub.faults[f"/{model.repository}/resolve/{model.commit}/{model.file}"] = [pauses_halfway(arrived)]

    async def run() -> None:
        answerer = replica(tmp_path)
        async with asyncio.timeout(10):
            while "kB of 1.3 MB" not in (await answer(answerer))[1].note:
                await asyncio.sleep(0.05)
        start = time.monotonic()
        sentences, end = await answer(answerer)
        assert time.monotonic() - start < 0.5
        assert sentences
        assert end.answered_by == "extractive"
        assert "is still loading (fetching qwen2.5-1.5b-instruct-q4_k_m.gguf, " in end.note
        arrived.set()
        async with asyncio.timeout(10):
            while (await answer(answerer))[1].answered_by != "Qwen2.5-1.5B-Instruct":
                await asyncio.sleep(0.05)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"server_url": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be used"),
        ({"model": "/nowhere/missing.gguf"}, "missing.gguf does not exist"),
    ],
)
def test_a_model_that_cannot_be_had_is_named_and_passages_are_quoted(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    async def run() -> None:
        sentences, end = await answer(replica(tmp_path, **settings))
        assert sentences
        assert end.answered_by == "extractive"
        assert reason in end.note

    asyncio.run(run())


def test_a_model_larger_than_the_free_memory_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    with path.open("wb") as file:
        file.truncate(2 * psutil.virtual_memory().total)  # a sparse file

    async def run() -> None:
        _, end = await answer(replica(tmp_path, model=str(path)))
        assert end.answered_by == "extractive"
        assert "huge needs " in end.note
        assert "choose a smaller answerer.model" in end.note

    asyncio.run(run())


def test_without_time_for_the_model_passages_are_quoted(tmp_path: Path, tiny_gguf: Path) -> None:
    async def run() -> None:
        answerer = replica(tmp_path, model=str(tiny_gguf))
        await answer(answerer)
        sentences, end = await answer(answerer, seconds=0.9)
        assert sentences
        assert (end.answered_by, end.note) == ("extractive", NO_TIME)

    asyncio.run(run())


def test_when_the_time_is_over_passages_are_quoted_before_the_deadline(tmp_path: Path, chat: ChatServer) -> None:
    async def run() -> None:
        answerer = replica(tmp_path, server_url=chat.url)
        await answer(answerer)  # connects
        chat.pause_s = 30
        start = time.monotonic()
        sentences, end = await answer(answerer, seconds=2.5)
        assert time.monotonic() - start < 2.5
        assert REPLY in [sentence.text for sentence in sentences]
        assert end.answered_by == "extractive"
        assert "no time" in end.note

    asyncio.run(run())


def test_the_model_answers_one_question_at_a_time_and_who_waits_too_long_gets_quotes(
    tmp_path: Path, chat: ChatServer
) -> None:
    async def run() -> None:
        answerer = replica(tmp_path, server_url=chat.url)
        await answer(answerer)  # connects
        chat.pause_s = 0.15
        (_, first), (_, second), (_, late) = await asyncio.gather(
            answer(answerer), answer(answerer), answer(answerer, seconds=2)
        )
        assert (first.answered_by, second.answered_by) == ("first", "first")
        assert (late.answered_by, late.note) == ("extractive", NO_TIME)

    asyncio.run(run())


def test_a_caller_that_leaves_stops_the_model(tmp_path: Path, chat: ChatServer) -> None:
    chat.pieces, chat.pause_s = [f"{REPLY} "] * 100, 0.1

    async def run() -> None:
        answerer = replica(tmp_path, server_url=chat.url)
        parts = answerer.answer(QUESTION, hits(), deadline=time.time() + 30)
        asking = asyncio.create_task(anext(parts))
        async with asyncio.timeout(5):
            while not chat.requests:
                await asyncio.sleep(0.01)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await parts.aclose()
        end = time.monotonic() + 3
        while not chat.num_left:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        chat.pieces, chat.pause_s = [REPLY], 0.0
        _, last = await answer(answerer)
        assert last.answered_by == "first"

    asyncio.run(run())


def test_the_model_leaves_memory_when_idle_and_comes_back(tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "own.gguf"  # other tests may have the tiny one in memory
    path.write_bytes(tiny_gguf.read_bytes())

    async def run() -> None:
        answerer = replica(tmp_path, model=str(path), idle_unload_s=0.2)
        for _ in range(2):
            _, end = await answer(answerer)
            assert end.answered_by == "own"
            assert (await answerer.status()).state == "loaded"
            assert mapped(path)
            await asyncio.sleep(0.6)
            status = await answerer.status()
            assert (status.state, status.is_available) == ("not_loaded", True)
            assert not mapped(path)

    asyncio.run(run())


@pytest.mark.parametrize("is_long", [False, True])
def test_the_end_of_the_replica_leaves_nothing_behind(
    tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    """Also where the folder for temporary files has a path that is too long for a socket in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = tmp_path / ("x" * 100) if is_long else Path(short)
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        in_tmp = set(Path("/tmp").iterdir())

        async def run() -> None:
            answerer = replica(tmp_path, model=str(tiny_gguf))
            assert (await answer(answerer))[-1].answered_by == "tiny"
            made = {*folder.iterdir(), *(set(Path("/tmp").glob("prism-llama-*")) - in_tmp)}
            assert len(made) == 1
            answerer.__del__()
            assert not any(path.exists() for path in made)

        asyncio.run(run())


def mapped(path: Path) -> bool:
    return any(area.path == str(path) for area in psutil.Process().memory_maps())
