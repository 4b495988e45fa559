import asyncio
import json
from typing import Any

import pytest
from starlette.middleware import Middleware

from serve_app import stopping
from serve_app.api import create_api
from serve_app.settings import AppConfig
from serve_app.stopping import RefuseWhileStopping, Stopping
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import ORIGIN
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.test_live import events_of

HEADERS = {"Origin": ORIGIN, "Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE_S", 0.3)
    monkeypatch.setattr(stopping, "_DELIVERY_S", 0.01)


def app_and_stopping(graph: FakeGraph) -> tuple[Any, Stopping]:
    """Return the API as the ingress builds it."""
    api = create_api(graph.context(AppConfig()))
    state = Stopping()
    api.user_middleware.append(Middleware(RefuseWhileStopping, state))
    return api, state


def image_request(png_base64: str) -> Exchange:
    return Exchange("/api/analyze/image", HEADERS, [json.dumps({"image": png_base64}).encode()])


async def started(exchange: Exchange, api: Any, graph: FakeGraph) -> "asyncio.Task[None]":
    """Send the request, and return the task of its answer once the captioner works on it."""
    request = asyncio.create_task(exchange.run(api))
    while not graph.captioner.num_running:
        await asyncio.sleep(0.001)
    return request


def code_of(exchange: Exchange) -> str:
    code: str = exchange.body["error"]["code"]
    return code


def headers_of(exchange: Exchange) -> dict[bytes, bytes]:
    return dict(exchange.messages[0]["headers"])


def test_a_request_that_ends_within_the_grace_is_answered_and_stopping_waits_for_it(png_base64: str) -> None:
    graph = FakeGraph()
    graph.captioner.seconds = 0.1

    async def stop_in_the_middle() -> Exchange:
        api, state = app_and_stopping(graph)
        exchange = image_request(png_base64)
        request = await started(exchange, api, graph)
        await state.stop()
        assert request.done()
        return exchange

    assert asyncio.run(stop_in_the_middle()).status == 200


def test_a_request_that_takes_longer_is_told_503_in_json_with_cors_and_its_work_is_cancelled(png_base64: str) -> None:
    graph = FakeGraph()
    graph.captioner.seconds = 30

    async def stop_in_the_middle() -> Exchange:
        api, state = app_and_stopping(graph)
        exchange = image_request(png_base64)
        request = await started(exchange, api, graph)
        await state.stop()
        assert request.done()
        return exchange

    exchange = asyncio.run(stop_in_the_middle())
    assert (exchange.status, code_of(exchange)) == (503, "SERVER_BUSY")
    assert headers_of(exchange)[b"access-control-allow-origin"] == ORIGIN.encode()
    assert graph.captioner.num_cancelled == 1


def test_a_client_that_is_still_uploading_is_told_503() -> None:
    async def stop_in_the_middle() -> Exchange:
        api, state = app_and_stopping(FakeGraph())
        exchange = Exchange("/api/analyze/image", HEADERS, [b'{"image": "'], is_complete=False)
        request = asyncio.create_task(exchange.run(api))
        await exchange.has_read(1)
        await state.stop()
        assert request.done()
        return exchange

    assert code_of(asyncio.run(stop_in_the_middle())) == "SERVER_BUSY"


def test_new_requests_are_refused(png_base64: str) -> None:
    async def stop_before() -> Exchange:
        api, state = app_and_stopping(FakeGraph())
        await state.stop()
        exchange = image_request(png_base64)
        await exchange.run(api)
        return exchange

    exchange = asyncio.run(stop_before())
    assert exchange.body["error"]["message"] == "The server is stopping."
    assert exchange.status == 503


def test_a_stream_that_takes_longer_ends_with_the_error(png_base64: str) -> None:
    graph = FakeGraph()
    graph.captioner.seconds = 30

    async def stop_in_the_middle() -> Exchange:
        api, state = app_and_stopping(graph)
        exchange = image_request(png_base64)
        exchange.headers = {**HEADERS, "Accept": "text/event-stream"}
        request = await started(exchange, api, graph)
        await state.stop()
        with pytest.raises(TimeoutError):
            await request
        assert graph.captioner.num_cancelled == 1
        return exchange

    exchange = asyncio.run(stop_in_the_middle())
    assert exchange.status == 200
    name, data = events_of(b"".join(message.get("body", b"") for message in exchange.messages).decode())[-1]
    assert name == "error"
    assert data["error"]["code"] == "SERVER_BUSY"
