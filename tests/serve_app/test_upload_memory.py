import asyncio
import pickle
from typing import Any

import numpy as np
import pytest

from serve_app import upload_memory
from serve_app.upload_memory import LARGE_BYTES, MAX_WAITING_BYTES, GiveBackMemory, PaceUploads

MEDIA = np.zeros(8, np.uint8)


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each time that the heap is trimmed."""
    trims: list[str] = []
    monkeypatch.setattr(upload_memory, "trim_freed_memory", lambda: trims.append("trimmed"))
    return trims


@pytest.mark.parametrize(("num_bytes", "expected"), [(LARGE_BYTES - 1, []), (LARGE_BYTES, ["trimmed"])])
def test_the_heap_is_trimmed_after_a_large_body(trims: list[str], num_bytes: int, expected: list[str]) -> None:
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


def test_the_proxy_reads_a_body_no_faster_than_the_ingress_takes_it() -> None:
    chunk = 2**20
    messages = [{"type": "http.request", "body": bytes(chunk), "more_body": i < 19} for i in range(20)]
    queue: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            queue.append(await receive())

    async def run() -> list[Any]:
        taken = []
        reading = asyncio.create_task(PaceUploads(app)({}, receive, None))  # type: ignore[arg-type]
        while len(taken) < 20:
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(queue) == min(MAX_WAITING_BYTES // chunk + 1, 20 - len(taken))
            taken += pickle.loads(pickle.dumps(queue[:2]))
            del queue[:2]
        reading.cancel()
        return taken

    taken = asyncio.run(run())
    assert taken == [{"type": "http.request", "body": bytes(chunk), "more_body": i < 19} for i in range(20)]
    assert {type(message) for message in taken} == {dict}
