"""Bad requests to /mcp, without the SDK's client."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.project import project_folder
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import MakeApi
from tests.serve_app.fakes import FakeGraph

HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def test_a_request_is_complete_in_itself(client: TestClient) -> None:
    response = client.post("/mcp", json=LIST, headers=HEADERS)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "describe_image" in response.text
    assert "mcp-session-id" not in response.headers


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_there_are_no_sessions_to_follow_or_to_end(client: TestClient, method: str) -> None:
    response = client.request(method, "/mcp", headers=HEADERS)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}])
def test_foreign_pages_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    response = client.post("/mcp", json=LIST, headers={**HEADERS, **headers})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "FORBIDDEN")


def test_pages_of_an_allowed_origin_are_not(client: TestClient) -> None:
    response = client.post("/mcp", json=LIST, headers={**HEADERS, "Origin": "http://localhost:3001"})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "http://localhost:3001"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b"1", 400),
        (b"{}", 400),
        (b'{"jsonrpc": "2.0", "id": 1}', 400),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "tools/list"}', 400),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}', 202),
        (b"[" * 60_000, 400),
        (b'{"a": "' + b"a" * 70_000 + b'"}', 400),
        (b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}', 202),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "no/such/method"}', 200),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": []}', 400),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 1}}', 200),
    ],
)
@pytest.mark.parametrize("version", [None, "2026-07-28", "1999-01-01"])
def test_bad_bodies_are_answered_in_json(client: TestClient, body: bytes, status: int, version: str | None) -> None:
    headers = {**HEADERS, **({"MCP-Protocol-Version": version} if version else {})}
    response = client.post("/mcp", content=body, headers=headers)
    assert response.status_code == status or version in ("2026-07-28", "1999-01-01")
    assert response.status_code in (200, 202, 400, 404)
    if response.status_code == 202:
        return
    kind = response.headers["content-type"]
    assert kind.startswith(("application/json", "text/event-stream")), kind
    answer: Any = json.loads(response.text.partition("data: ")[2] or response.text)
    assert "error" in answer
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("header", "value", "status"), [("Content-Type", "text/plain", 400), ("Accept", "text/html", 406)]
)
def test_other_forms_are_refused(client: TestClient, header: str, value: str, status: int) -> None:
    response = client.post("/mcp", json=LIST, headers={**HEADERS, header: value})
    assert response.status_code == status
    assert "error" in response.json()


def test_a_client_that_leaves_ends_the_call(make_api: MakeApi, graph: FakeGraph, tmp_path: Path, png: bytes) -> None:
    graph.captioner.seconds = 30
    (tmp_path / "picture.png").write_bytes(png)
    arguments = {"path": str(tmp_path / "picture.png")}
    params = {"name": "describe_image", "arguments": arguments}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()

    async def scenario() -> None:
        api = make_api(serving={"mcp_folders": str(tmp_path)})
        exchange = Exchange("/mcp", {**HEADERS, "Host": "localhost"}, [body], disconnects=True, leaves_after_s=0.5)
        await asyncio.wait_for(exchange.run(api), 10)

    asyncio.run(scenario())
    assert (graph.captioner.num_cancelled, graph.captioner.num_running) == (1, 0)


def test_the_sdk_is_imported_at_the_first_call() -> None:
    code = "import sys, serve_app.api; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project_folder())
    assert "serve_app.routes.mcp.endpoint" in run.stdout.split()
    assert {"mcp", "mcp_types"} & set(run.stdout.split()) == set()
