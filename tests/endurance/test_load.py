"""That the load test notices wrong answers; e2e/test_load.py is its short form."""

import http.server
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.endurance.cases import Doubt
from tests.endurance.client import Client, WrongAnswer
from tests.endurance.clients import MIN_JUDGED, Findings, settle_doubts

BUSY = {"success": False, "error": {"code": "SERVER_BUSY", "message": "Full."}, "timestamp": "2026-01-01T00:00:00Z"}
JSON = {"Content-Type": "application/json", "X-Request-ID": "1"}


Response = tuple[int, Mapping[str, str], bytes]
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives these answers in turn, then the last one again and again; returns its URL."""
    servers = []

    def start(*responses: Response) -> str:
        left = list(responses)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def error_body(code: str, **more: str) -> bytes:
    return json.dumps({**BUSY, "error": {"code": code, "message": "Because.", **more}}).encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "problem"),
    [
        (500, {"Content-Type": "text/plain", "X-Request-ID": "1"}, b"Internal Server Error", "not JSON"),
        (400, JSON, error_body("STRANGE"), "does not belong to its code"),
        (400, JSON, error_body("NOT_FOUND"), "does not belong to its code"),
        (400, JSON, b'{"detail": "no"}', "not an error of this API"),
        (404, JSON, error_body("NOT_FOUND", where="here"), "not an error of this API"),
        (503, JSON, error_body("SERVER_BUSY"), "no Retry-After"),
        (200, {"Content-Type": "application/json"}, b"{}", "no X-Request-ID"),
        (200, JSON, b"{", "not JSON"),
        (404, JSON, error_body("NOT_FOUND"), "not 200"),
    ],
)
def test_an_undocumented_answer_is_noticed(
    serve: Serve, status: int, headers: Mapping[str, str], body: bytes, problem: str
) -> None:
    client = Client(serve((status, headers, body)), lambda outcome, seconds: None, NoIds())
    with pytest.raises(WrongAnswer, match=problem):
        client.expect("200", "GET", "/livez")
    client.close()


class NoIds(random.Random):
    """Has the client send neither an Origin nor a request id."""

    def random(self) -> float:
        return 0.9


def test_an_answer_to_another_request_or_without_cors_is_noticed(serve: Serve) -> None:
    url = serve((200, JSON, b"{}"))
    problems = []
    for seed in range(20):  # which decides whether the client sends an Origin, a request id, both or none
        client = Client(url, lambda outcome, seconds: None, random.Random(seed))
        try:
            client.expect("200", "GET", "/livez")
        except WrongAnswer as error:
            problems.append(str(error))
        client.close()
    assert any("another request's id" in problem for problem in problems)
    assert any("cannot be read by a page" in problem for problem in problems)
    assert all("another request's id" in problem or "cannot be read by a page" in problem for problem in problems)


def test_a_busy_server_is_asked_again_when_it_says_so(serve: Serve) -> None:
    busy = (503, {**JSON, "Retry-After": "1"}, error_body("SERVER_BUSY"))
    outcomes: list[str] = []
    client = Client(serve(busy, busy, (200, JSON, b"{}")), lambda outcome, seconds: outcomes.append(outcome), NoIds())
    started = time.monotonic()
    client.expect("200", "GET", "/livez")
    client.close()
    assert time.monotonic() - started >= 2
    assert outcomes == ["503 SERVER_BUSY", "503 SERVER_BUSY", "200"]


def test_an_answer_that_differs_when_it_is_asked_for_alone_was_wrong() -> None:
    findings = Findings()
    findings.doubts = [
        ("one", Doubt("A circle.", "A square.", lambda client: "A square.")),
        ("two", Doubt("A circle.", "A square.", lambda client: "A circle.")),
    ]
    settle_doubts("http://127.0.0.1:9", findings)
    assert findings.mistakes == {"one": 1}
    [wrong] = findings.wrong
    assert wrong.startswith("two: the answer was 'A square.', and that to the same file, alone, 'A circle.'")


def test_many_mistakes_of_one_kind_are_a_problem() -> None:
    findings = Findings()
    findings.num_requests["one"] = MIN_JUDGED
    findings.doubts = [("one", Doubt("A circle.", "A star.", lambda client: "A star."))] * 4
    settle_doubts("http://127.0.0.1:9", findings)
    [problem] = findings.wrong
    assert problem.startswith("one: 4 of 50 answers are wrong")


def test_no_connection_is_noticed() -> None:
    client = Client("http://127.0.0.1:9", lambda outcome, seconds: None, random.Random(0))
    with pytest.raises(WrongAnswer, match="was not answered"):
        client.expect("200", "GET", "/livez")
