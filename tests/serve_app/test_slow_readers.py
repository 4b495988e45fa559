import asyncio
from typing import Any

import pytest

from serve_app import slow_readers
from serve_app.slow_readers import DropSlowReaders

SCOPE = {"type": "http"}


async def _respond(scope: Any, receive: Any, send: Any) -> None:
    for _ in range(3):
        await send({"type": "http.response.body", "body": b"x", "more_body": True})


async def _nothing() -> Any:
    await asyncio.sleep(3600)


def test_a_client_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_readers, "READER_S", 0.05)
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 2:
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        asyncio.run(DropSlowReaders(_respond)(SCOPE, _nothing, send))
    assert len(sent) == 2


def test_a_client_that_takes_a_little_at_a_time_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_readers, "READER_S", 1.0)
    sent = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0.4)
        sent.append(message)

    asyncio.run(DropSlowReaders(_respond)(SCOPE, _nothing, send))
    assert len(sent) == 3
