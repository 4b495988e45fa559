import asyncio
from pkgutil import resolve_name
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve_app.odd_headers import MAX_HEADER_BYTES, PROXY_CALLBACK, DropOddHeaders, proxy_middleware
from serve_app.slow_readers import DropSlowReaders
from serve_app.upload_memory import GiveBackMemory, PaceUploads
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import MP4, ORIGIN, MakeApi
from tests.serve_app.fakes import FakeGraph


def passed_on(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return what is left of the headers behind the proxy's middleware."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    middleware = proxy_middleware()[0]
    asyncio.run(middleware.cls(app)({"type": "http", "headers": list(headers)}, None, None))  # type: ignore[arg-type]
    remaining: list[tuple[bytes, bytes]] = scopes[0]["headers"]
    return remaining


@pytest.mark.parametrize("value", [b"\xff\xfe", b"1", b"?1"])
@pytest.mark.parametrize(
    "name",
    [
        b"x-session-id",
        b"X-Session-ID",
        b"x_session_id",
        b"serve_multiplexed_model_id",
        b"serve-multiplexed-model-id",
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
    ],
)
def test_headers_with_a_meaning_for_serve_are_dropped(name: bytes, value: bytes) -> None:
    assert passed_on((name, value), (b"accept", b"*/*")) == [(b"accept", b"*/*")]


@pytest.mark.parametrize("value", [b"\xff", b"x" * 129, b"x" * 5000, b"a b", b"", b"<b>", b"a\n"])
def test_a_request_id_that_is_not_safe_to_send_back_is_dropped(value: bytes) -> None:
    assert passed_on((b"x-request-id", value)) == []


@pytest.mark.parametrize("value", [b"3f2a-77", b"x" * 128, b"a.b:c_d"])
def test_other_request_ids_are_kept(value: bytes) -> None:
    assert passed_on((b"x-request-id", value)) == [(b"x-request-id", value)]


def test_a_header_name_that_is_not_ascii_is_dropped() -> None:
    assert passed_on((b"x-\xff", b"1"), (b"x-odd", b"\xff")) == [(b"x-odd", b"\xff")]


def test_the_proxy_finds_the_middleware_by_its_name() -> None:
    assert [middleware.cls for middleware in resolve_name(PROXY_CALLBACK)()] == [
        DropOddHeaders,
        DropSlowReaders,
        GiveBackMemory,
        PaceUploads,
    ]


def test_headers_that_are_too_large_are_refused_in_json(client: TestClient) -> None:
    response = client.get("/livez", headers={"X-Large": "x" * 1024 * 1024})
    assert response.status_code == 400
    assert str(MAX_HEADER_BYTES) in response.json()["error"]["message"]
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert client.get("/livez", headers={"X-Large": "x" * (MAX_HEADER_BYTES - 1000)}).status_code == 200


@pytest.mark.parametrize("chunks", [[MP4], [MP4[:10], MP4[10:]]], ids=len)
def test_a_client_that_leaves_stops_its_work_whatever_header_it_sent(
    make_api: MakeApi, graph: FakeGraph, chunks: list[bytes]
) -> None:
    """Serve itself stops the work of other requests; with this header it does not look whether the client is there."""
    graph.transcriber.seconds = 5
    start = b'--cut\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=cut", "X-Request-Disconnect-Disabled": "?1"}
    body = [start, *chunks, b"\r\n--cut--\r\n"]
    exchange = Exchange("/api/analyze/audio", headers, body, disconnects=True, leaves_after_s=0.3)
    asyncio.run(asyncio.wait_for(exchange.run(make_api()), 3))
    assert exchange.messages == []
    assert (len(graph.transcriber.calls), graph.transcriber.num_cancelled) == (1, 1)


def test_such_a_request_is_answered_as_any_other(client: TestClient, png: bytes) -> None:
    headers = {"X-Request-Disconnect-Disabled": "?1", "x-request-timeout-seconds": "0"}
    assert client.post("/api/analyze/image", files={"image": png}, headers=headers).status_code == 200
    assert client.post("/api/analyze/image", content=b"x", headers=headers).status_code == 400
