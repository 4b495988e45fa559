import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse

from serve_app.foreign_pages import RefuseForeignPages
from serve_app.settings import ServingConfig
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import MakeApi
from tests.serve_app.fakes import FakeGraph

ROUTES = [
    ("POST", "/api/analyze/image"),
    ("POST", "/api/analyze/batch"),
    ("GET", "/api/health"),
    ("GET", "/livez"),
    ("GET", "/docs"),
    ("GET", "/docs/assets/favicon.png"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
    ("OPTIONS", "/api/analyze/image"),
]
OWN = "http://localhost:8000"


def is_refused(response: Any) -> bool:
    if response.status_code != 403:
        return False
    assert response.json()["error"]["code"] == "FORBIDDEN"
    assert set(response.json()) == {"success", "error", "timestamp"}
    return True


@pytest.fixture
def local(make_api: MakeApi) -> TestClient:
    return TestClient(make_api(), base_url=OWN)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example:8000"},
        {"Host": "localhost.example"},
        {"Host": "192.168.1.5:8000"},
        {"Host": ""},
        {"Host": "localhost:8000@evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:8001"},
        {"Origin": "http://localhost:8000.evil.example"},
        {"Origin": "http://localhost:99999999"},
        {"Origin": "file://localhost:8000"},
        {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"},
        {"Host": "rebound.example:8000", "Origin": "http://rebound.example:8000"},
    ],
    ids=str,
)
def test_requests_of_foreign_pages_are_refused_on_every_route(
    local: TestClient, graph: FakeGraph, method: str, path: str, headers: dict[str, str], png: bytes
) -> None:
    files = {"image": png} if method == "POST" else None
    response = local.request(method, path, headers=headers, files=files)
    assert is_refused(response)
    assert "access-control-allow-origin" not in response.headers
    assert not graph.captioner.calls


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST:1234", "127.0.0.1", "127.0.0.1:9", "[::1]:8000", "[::1]"]
)
def test_the_names_of_this_machine_are_allowed_on_any_port(local: TestClient, host: str) -> None:
    assert local.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", OWN),
        ("localhost:8000", "http://localhost:3000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost"),
    ],
)
def test_the_servers_own_pages_and_those_of_the_cors_list_are_allowed(
    local: TestClient, host: str, origin: str
) -> None:
    assert local.get("/api/health", headers={"Host": host, "Origin": origin}).status_code == 200


def test_clients_that_are_no_browser_are_served(local: TestClient, png: bytes) -> None:
    assert local.post("/api/analyze/image", files={"image": png}).status_code == 200


def test_a_client_of_http_1_0_may_leave_out_the_host(make_api: MakeApi) -> None:
    exchange = Exchange("/api/analyze/image", {"Content-Type": "text/plain"})
    asyncio.run(exchange.run(make_api()))
    assert exchange.status == 400


def test_a_second_host_or_origin_does_not_hide_a_foreign_one(local: TestClient) -> None:
    for name, good, bad in (("Host", "localhost", "evil.example"), ("Origin", OWN, "http://evil.example")):
        for pair in ((good, bad), (bad, good)):
            assert is_refused(local.get("/livez", headers=[(name, value) for value in pair]))


def test_the_names_are_a_setting(make_api: MakeApi) -> None:
    api = make_api(serving={"allowed_hosts": ["Laptop.local", "fd00::5"]})
    client = TestClient(api, base_url="http://laptop.local:8000")
    assert client.get("/livez").status_code == 200
    assert client.get("/livez", headers={"Host": "[fd00::5]:8000"}).status_code == 200
    assert is_refused(client.get("/livez", headers={"Host": "localhost:8000"}))


def test_a_page_of_the_cors_list_can_read_that_it_used_a_wrong_name(local: TestClient) -> None:
    headers = {"Host": "laptop.local:8000", "Origin": "http://localhost:3000"}
    response = local.get("/livez", headers=headers)
    assert is_refused(response)
    assert "serving.allowed_hosts" in response.json()["error"]["message"]
    assert response.headers["access-control-allow-origin"] == "http://localhost:3000"


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}], ids=str)
def test_foreign_websocket_handshakes_are_refused(headers: dict[str, str]) -> None:
    client = TestClient(_app_with_websocket())
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client.websocket_connect("ws://localhost:8000/ws", headers=headers),
    ):
        pass
    response: Any = caught.value
    assert is_refused(response)


@pytest.mark.parametrize("headers", [{}, {"Origin": OWN}, {"Origin": "http://localhost:3000"}], ids=str)
def test_other_websocket_handshakes_are_accepted(headers: dict[str, str]) -> None:
    client = TestClient(_app_with_websocket())
    with client.websocket_connect("ws://localhost:8000/ws", headers=headers) as socket:
        assert socket.receive_text() == "hello"


def test_a_handshake_is_closed_where_the_server_cannot_answer_it() -> None:
    async def scenario() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        scope = {"type": "websocket", "path": "/ws", "headers": [(b"host", b"evil.example")]}
        await _app_with_websocket()(scope, receive, send)
        return sent

    [message] = asyncio.run(scenario())
    assert (message["type"], message["code"]) == ("websocket.close", 1008)


def _app_with_websocket() -> Any:
    app = FastAPI()

    @app.websocket("/ws")
    async def greet(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    return RefuseForeignPages(app, ServingConfig())
