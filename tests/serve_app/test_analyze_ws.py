import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from serve_app.routes import analyze_ws
from tests.serve_app.conftest import ORIGIN, WAV, MakeApi
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.test_live import without_times

WS = "/api/analyze/ws"


@pytest.fixture
def session(client: TestClient) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect(WS) as session:
        yield session


def announce(session: WebSocketTestSession, file_id: str, kind: str, size: int, **options: Any) -> None:
    session.send_json({"id": file_id, "type": kind, "size": size, "options": options})


def send(session: WebSocketTestSession, file_id: str, kind: str, file: bytes, **options: Any) -> None:
    """Send a file, a part for each credit."""
    announce(session, file_id, kind, len(file), **options)
    sent = 0
    while sent < len(file):
        message = session.receive_json()
        assert (message["id"], message["event"]) == (file_id, "credit"), message
        end = sent + message["data"]["bytes"]
        for start in range(sent, end, analyze_ws.MAX_PART_BYTES):
            session.send_bytes(file[start : min(end, start + analyze_ws.MAX_PART_BYTES)])
        sent = end


def until_last(session: WebSocketTestSession, file_id: str) -> list[tuple[str, Any]]:
    """Return the events of a file up to its last one."""
    events: list[tuple[str, Any]] = []
    while not events or events[-1][0] not in ("result", "error", "cancelled"):
        message = session.receive_json()
        if message["id"] == file_id:
            events.append((message["event"], message["data"]))
    return events


def test_a_file_gets_the_events_and_the_result_of_its_route(
    session: WebSocketTestSession, client: TestClient, png: bytes
) -> None:
    send(session, "first", "image", png, max_length=50)
    events = until_last(session, "first")
    plain = client.post("/api/analyze/image", files={"image": png}, data={"max_length": 50}).json()
    assert events[0] == ("queued", {"position": 0})
    assert [data["text"] for name, data in events if name == "token"] == ["a", " pic", "ture"]
    assert events[-1][0] == "result"
    assert without_times(events[-1][1]) == without_times(plain)


def test_files_are_analysed_side_by_side(session: WebSocketTestSession, graph: FakeGraph, png: bytes) -> None:
    graph.transcriber.seconds = 0.3
    send(session, "slow", "audio", WAV)
    send_between = {"id": "fast", "type": "image", "size": len(png)}
    session.send_json(send_between)
    order, sent = [], False
    while len(order) < 2:
        message = session.receive_json()
        if message["event"] == "credit" and not sent:
            session.send_bytes(png)
            sent = True
        if message["event"] == "result":
            order.append(message["id"])
    assert order == ["fast", "slow"]


def test_a_large_file_gets_credit_as_it_is_taken_in(
    session: WebSocketTestSession, graph: FakeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyze_ws, "CREDIT_BYTES", 1000)
    file = WAV + bytes(5000)
    send(session, "1", "audio", file)
    assert until_last(session, "1")[-1][0] == "result"
    [(content, _)] = graph.transcriber.calls
    assert content == file


def test_an_analysis_is_cancelled_and_its_id_is_free_again(
    session: WebSocketTestSession, graph: FakeGraph, png: bytes
) -> None:
    graph.captioner.seconds = 5
    send(session, "1", "image", png)
    session.send_json({"id": "1", "cancel": True})
    assert until_last(session, "1")[-1] == ("cancelled", {})
    graph.captioner.seconds = 0
    send(session, "1", "image", png)
    assert until_last(session, "1")[-1][0] == "result"
    session.send_json({"id": "1", "cancel": True})  # it has ended: nothing happens
    send(session, "2", "image", png)
    assert until_last(session, "2")[-1][0] == "result"


def test_an_upload_is_cancelled_and_what_still_arrives_of_it_is_dropped(
    session: WebSocketTestSession, png: bytes
) -> None:
    announce(session, "1", "audio", 1000)
    assert session.receive_json()["event"] == "credit"
    session.send_bytes(bytes(100))
    session.send_json({"id": "1", "cancel": True})
    session.send_bytes(bytes(100))
    assert until_last(session, "1") == [("cancelled", {})]
    send(session, "2", "image", png)
    assert until_last(session, "2")[-1][0] == "result"


def test_the_next_file_may_be_announced_right_after_a_cancel(session: WebSocketTestSession, png: bytes) -> None:
    announce(session, "1", "audio", 1000)
    session.send_json({"id": "1", "cancel": True})
    send_json = {"id": "2", "type": "image", "size": len(png)}
    session.send_json(send_json)
    events = []
    while not events or events[-1]["event"] != "result":
        events.append(session.receive_json())
        if events[-1]["id"] == "2" and events[-1]["event"] == "credit":
            session.send_bytes(png)
    assert {event["event"] for event in events if event["id"] == "1"} <= {"credit", "cancelled"}
    assert events[-1]["id"] == "2"


@pytest.mark.parametrize("message", [{"id": 1, "cancel": True}, {"id": "1", "cancel": False}, {"cancel": True}])
def test_a_wrong_cancel_is_an_error(session: WebSocketTestSession, message: dict[str, Any]) -> None:
    session.send_json(message)
    assert session.receive_json()["data"]["error"]["code"] == "INVALID_REQUEST"


def test_a_client_that_only_sends_nonsense_is_dropped(session: WebSocketTestSession) -> None:
    for _ in range(analyze_ws.MAX_REFUSED + 1):
        session.send_text("x")
    assert closing_code(session) == 1008


def test_bytes_of_no_file_end_the_connection(session: WebSocketTestSession) -> None:
    for _ in range(3):
        session.send_bytes(bytes(analyze_ws.MAX_PART_BYTES))
    assert closing_code(session) == 1008


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"id": "1", "type": "text", "size": 10}, "INVALID_REQUEST"),
        ({"id": "1", "type": "image", "size": 0}, "INVALID_REQUEST"),
        ({"id": "1", "type": "image", "size": "10"}, "INVALID_REQUEST"),
        ({"id": "1", "type": "image"}, "INVALID_REQUEST"),
        ({"id": "", "type": "image", "size": 10}, "INVALID_REQUEST"),
        ({"id": "1", "type": "image", "size": 10, "colour": "red"}, "INVALID_REQUEST"),
        ({"id": "1", "type": "image", "size": 10, "options": []}, "INVALID_REQUEST"),
        ({"id": "1", "type": "image", "size": 11 * 2**20}, "FILE_TOO_LARGE"),
        ({"type": "image", "size": 10}, "INVALID_REQUEST"),
    ],
)
def test_a_wrong_announcement_is_an_error_and_the_connection_goes_on(
    session: WebSocketTestSession, png: bytes, message: dict[str, Any], code: str
) -> None:
    session.send_json(message)
    answer = session.receive_json()
    assert answer["event"] == "error"
    assert answer["data"]["error"]["code"] == code
    assert answer["id"] == message.get("id")
    send(session, "next", "image", png)
    assert until_last(session, "next")[-1][0] == "result"


@pytest.mark.parametrize("text", ["", "hello", "[1]", "null", '{"id": 1e999}', "[" * 5000])
def test_what_is_no_json_object_is_an_error(session: WebSocketTestSession, text: str) -> None:
    session.send_text(text)
    assert session.receive_json()["data"]["error"]["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("file", "options", "code"),
    [(WAV, {}, "INVALID_FILE_TYPE"), (None, {"max_length": 0}, "INVALID_REQUEST"), (None, {"a": 1}, "INVALID_REQUEST")],
)
def test_a_wrong_file_or_option_is_the_routes_error(
    session: WebSocketTestSession, png: bytes, file: bytes | None, options: dict[str, Any], code: str
) -> None:
    send(session, "1", "image", file or png, **options)
    assert until_last(session, "1")[-1][1]["error"]["code"] == code


def test_one_upload_at_a_time(session: WebSocketTestSession) -> None:
    announce(session, "1", "image", 10)
    announce(session, "2", "image", 10)
    errors = [message for message in (session.receive_json(), session.receive_json()) if message["event"] == "error"]
    assert [error["id"] for error in errors] == ["2"]
    assert "'1' is not complete yet" in errors[0]["data"]["error"]["message"]


def test_an_id_in_use_is_an_error_that_is_not_the_other_files(session: WebSocketTestSession, graph: FakeGraph) -> None:
    graph.transcriber.seconds = 0.3
    send(session, "1", "audio", WAV)
    announce(session, "1", "audio", 10)
    messages = [session.receive_json()]
    while messages[-1]["event"] not in ("result", "error"):
        messages.append(session.receive_json())
    assert messages[-1]["id"] is None
    assert until_last(session, "1")[-1][0] == "result"


def closing_code(session: WebSocketTestSession) -> int:
    try:
        while True:
            session.receive_json()
    except WebSocketDisconnect as closed:
        return closed.code


def test_more_than_the_credit_ends_the_connection(session: WebSocketTestSession) -> None:
    announce(session, "1", "audio", 10)
    session.send_bytes(bytes(11))
    assert closing_code(session) == 1008


def test_a_part_that_is_too_large_ends_the_connection(session: WebSocketTestSession) -> None:
    announce(session, "1", "audio", 10 * 2**20)
    session.send_bytes(bytes(2**20 + 1))
    assert closing_code(session) == 1009


def test_a_text_that_is_too_long_ends_the_connection(session: WebSocketTestSession) -> None:
    session.send_text(json.dumps({"id": "x" * 70_000}))
    assert closing_code(session) == 1009


def test_an_idle_connection_is_closed_but_not_one_at_work(
    make_api: MakeApi, graph: FakeGraph, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyze_ws, "IDLE_S", 0.1)
    graph.captioner.seconds = 0.4
    with TestClient(make_api()).websocket_connect(WS) as session:
        send(session, "1", "image", png)
        assert until_last(session, "1")[-1][0] == "result"
        assert closing_code(session) == 1000


def test_a_client_that_leaves_ends_its_work(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    graph.captioner.seconds = 5
    api = make_api()
    with TestClient(api) as client:
        with client.websocket_connect(WS) as session:
            send(session, "1", "image", png)
            assert session.receive_json()["event"] == "queued"
        deadline = time.monotonic() + 4
        while graph.captioner.num_running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert graph.captioner.num_cancelled == 1
        assert api.state.context.num_connections == 0


def test_too_many_connections_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyze_ws, "MAX_CONNECTIONS", 1)
    with client.websocket_connect(WS), client.websocket_connect(WS) as second:
        assert closing_code(second) == 1013


def test_the_rate_limit_counts_files(make_api: MakeApi, png: bytes) -> None:
    client = TestClient(make_api(serving={"requests_per_hour": 1}))
    with client.websocket_connect(WS) as session:
        send(session, "1", "image", png)
        assert until_last(session, "1")[-1][0] == "result"
        announce(session, "2", "image", len(png))
        assert until_last(session, "2")[-1][1]["error"]["code"] == "RATE_LIMITED"


def test_a_foreign_page_is_refused(make_api: MakeApi) -> None:
    client = TestClient(make_api(), headers={"Origin": "http://elsewhere.example"})
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(WS):
        pass
    assert refused.value.status_code == 403
    with TestClient(make_api(), headers={"Origin": ORIGIN}).websocket_connect(WS):
        pass
