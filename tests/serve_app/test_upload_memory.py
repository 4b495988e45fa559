import asyncio
import logging
import mmap
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import ray
from starlette.testclient import TestClient

from deployments.errors import ProcessingFailed
from deployments.media import Media
from serve_app import upload_memory
from serve_app.context import AppContext
from serve_app.settings import AppConfig
from serve_app.upload_memory import LARGE_BYTES, GiveBackMemory, PaceUploads, give_back_memory
from tests.serve_app.fakes import FakeGraph, FakeSystem

MEDIA = np.zeros(8, np.uint8)


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each time that the heap is trimmed."""
    trims: list[str] = []
    monkeypatch.setattr(upload_memory, "trim_freed_memory", lambda: trims.append("trimmed"))
    return trims


@pytest.mark.parametrize(("num_bytes", "expected"), [(LARGE_BYTES - 1, []), (LARGE_BYTES, ["trimmed"])])
def test_the_proxy_trims_its_heap_after_a_large_body(trims: list[str], num_bytes: int, expected: list[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            assert trims == []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError

    half = num_bytes // 2
    messages = [
        {"type": "http.request", "body": bytes(half), "more_body": True},
        {"type": "http.request", "body": bytes(num_bytes - half), "more_body": False},
    ]
    asyncio.run(GiveBackMemory(app)({"type": "http"}, receive, send))
    assert trims == expected


def context_that_notes(events: list[str]) -> AppContext:
    async def share(media: Media) -> Media:
        events.append("shared")
        return media

    async def give_back(media: Media) -> None:
        events.append("given back")

    return AppContext({}, AppConfig(), FakeSystem(), share, give_back)


@pytest.mark.parametrize("error", [None, RuntimeError("failed"), asyncio.CancelledError()])
def test_what_an_analysis_shares_is_given_back_when_it_ends(error: BaseException | None) -> None:
    events: list[str] = []

    async def analyze() -> None:
        context = context_that_notes(events)
        deadline = context.deadline()
        with context.admission.admit("127.0.0.1", "image", deadline) as admitted:
            async with context.analysis(admitted, "short", deadline) as analysis:
                await analysis.share(MEDIA)
                events.append("analysed")
                if error is not None:
                    raise error

    if error is None:
        asyncio.run(analyze())
    else:
        with pytest.raises(type(error)):
            asyncio.run(analyze())
    assert events == ["shared", "analysed", "given back"]


@pytest.mark.parametrize("error", [None, ProcessingFailed("failed")])
def test_each_routes_file_is_given_back(
    client: TestClient, graph: FakeGraph, png: bytes, png_base64: str, error: Exception | None
) -> None:
    graph.captioner.error = error
    client.post("/api/analyze/image", files={"image": png})
    assert len(graph.given_back) == len(graph.uploads) == 1
    client.post("/api/analyze/batch", json={"files": [{"type": "image", "data": png_base64}] * 2})
    assert len(graph.given_back) == len(graph.uploads) == 3


def test_what_is_shared_outside_of_an_analysis_is_kept() -> None:
    events: list[str] = []

    async def share() -> None:
        await context_that_notes(events).share(MEDIA)

    asyncio.run(share())
    assert events == ["shared"]


def test_a_failure_to_give_back_is_logged(
    monkeypatch: pytest.MonkeyPatch, trims: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    private = np.zeros(LARGE_BYTES, np.uint8)
    monkeypatch.setattr(ray, "get", lambda reference: private)
    monkeypatch.setattr(upload_memory, "mapped_file", lambda address: "/dev/shm/plasma")
    with caplog.at_level(logging.ERROR):
        asyncio.run(give_back_memory(cast(Media, "reference")))
    assert "could not be given back" in caplog.text
    assert trims == []


@pytest.mark.parametrize(("folder", "left"), [("/dev/shm", 0), (None, LARGE_BYTES)])
def test_what_is_in_shared_memory_is_freed_and_what_ray_put_on_disk_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str | None, left: int, trims: list[str]
) -> None:
    with tempfile.NamedTemporaryFile(dir=folder or tmp_path) as file:
        file.write(b"1" * LARGE_BYTES)
        file.flush()
        array = np.frombuffer(mmap.mmap(file.fileno(), LARGE_BYTES), np.uint8)
        monkeypatch.setattr(ray, "get", lambda reference: array)
        asyncio.run(give_back_memory(cast(Media, "reference")))
        assert np.count_nonzero(array) == left
    assert trims == ["trimmed"]


@pytest.mark.parametrize(("num_mb", "least_s"), [(10, 0.0), (40, 0.5)])
def test_the_proxy_reads_what_is_large_no_faster_than_the_ingress_takes_it(num_mb: int, least_s: float) -> None:
    messages = [{"type": "http.request", "body": bytes(2**20), "more_body": True} for _ in range(num_mb)]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    received = []

    async def receive() -> Any:
        return messages.pop(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            received.append(await receive())
            if not received[-1]["more_body"]:
                return

    start = time.monotonic()
    asyncio.run(PaceUploads(app)({}, receive, None))  # type: ignore[arg-type]
    seconds = time.monotonic() - start
    assert len(received) == num_mb + 1
    assert seconds >= least_s
    assert least_s or seconds < 0.5
