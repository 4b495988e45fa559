"""The progress of files, over a WebSocket and as server-sent events."""

from typing import Any

import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from tests.serve_app.library.conftest import LibraryApi

PLACE = {"type": "document", "heading": [], "paragraph": 1}


def receive_until(ws: Any, status: str) -> list[Any]:
    messages = []
    while not messages or messages[-1]["progress"]["status"] != status:
        messages.append(ws.receive_json())
    return messages


def test_a_client_follows_a_file_from_upload_to_completion(api: LibraryApi) -> None:
    with api.client.websocket_connect("/ws?since=0") as ws:
        file_id = api.upload(b"Some text.")
        api.index(("Some text.", PLACE, []))
        messages = receive_until(ws, "completed")
    assert {message["file_id"] for message in messages} == {file_id}
    assert [message["seq"] for message in messages] == sorted({message["seq"] for message in messages})
    assert set(messages[0]["progress"]) == {"status", "stage", "fraction", "eta_s", "message"}


def test_after_a_reconnect_what_was_missed_is_replayed(api: LibraryApi) -> None:
    with api.client.websocket_connect("/ws?since=0") as ws:
        api.upload(b"Some text.")
        seen = ws.receive_json()["seq"]
    api.index(("Some text.", PLACE, []))
    with api.client.websocket_connect(f"/ws?since={seen}") as ws:
        messages = receive_until(ws, "completed")
    assert messages[0]["seq"] > seen


def test_a_wrong_number_closes_the_connection_with_the_reason(api: LibraryApi) -> None:
    with api.client.websocket_connect("/ws?since=x") as ws, pytest.raises(WebSocketDisconnect) as closed:
        ws.receive_json()
    assert closed.value.code == 1008
    assert "since" in (closed.value.reason or "")


def test_a_foreign_page_cannot_follow(api: LibraryApi) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        api.client.websocket_connect("/ws", headers={"Origin": "http://elsewhere.example"}),
    ):
        pass
    assert refused.value.status_code == 403
