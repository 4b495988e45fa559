import pytest
from starlette.testclient import TestClient

from tests.serve_app.conftest import MakeApi
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.openai.requests import chat, error_of

CHAT = "/v1/chat/completions"
AUDIO = "/v1/audio/transcriptions"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/", 404, "not_found"),
        ("POST", "/v1/completions", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/gpt-5", 404, "model_not_found"),
    ],
)
def test_wrong_paths_and_methods(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    error = error_of(client.request(method, path), status)
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


def test_paths_that_only_begin_alike_have_the_other_form(client: TestClient) -> None:
    assert client.get("/v10").json()["error"]["code"] == "NOT_FOUND"


def test_a_foreign_page_is_refused(client: TestClient) -> None:
    response = client.get("/v1/models", headers={"Origin": "http://elsewhere.example"})
    assert response.status_code == 403
    assert response.json()["error"]["type"] == "permission_error"


def test_an_unexpected_error_has_no_details(client: TestClient, graph: FakeGraph, png_base64: str) -> None:
    graph.captioner.error = RuntimeError("secret")
    error = error_of(client.post(CHAT, json=chat(png_base64)), 500)
    assert (error["type"], error["code"]) == ("server_error", "processing_failed")
    assert "secret" not in error["message"]


def test_a_rate_limit_says_when_to_come_again(make_api: MakeApi, png_base64: str) -> None:
    client = TestClient(make_api(serving={"requests_per_hour": 1}), headers={"Origin": "http://localhost:3000"})
    assert client.post(CHAT, json=chat(png_base64)).status_code == 200
    response = client.post(CHAT, json=chat(png_base64))
    assert error_of(response, 429)["type"] == "rate_limit_error"
    assert 3500 < int(response.headers["retry-after"]) <= 3600


def test_too_little_memory_is_answered_busy_on_each_route(
    client: TestClient, graph: FakeGraph, png_base64: str
) -> None:
    graph.system.free_mb = 1
    for response in (
        client.post(CHAT, json=chat(png_base64)),
        client.post(AUDIO, files={"file": b"a"}, data={"model": "whisper-1"}),
        client.post("/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": "a"}),
    ):
        assert error_of(response, 503)["code"] == "server_busy"
        assert "retry-after" in response.headers


def test_what_took_too_long_is_not_sent_again(make_api: MakeApi, graph: FakeGraph, png_base64: str) -> None:
    graph.captioner.seconds = 30
    client = TestClient(make_api(serving={"request_timeout_s": 0.2}), headers={"Origin": "http://localhost:3000"})
    error = error_of(client.post(CHAT, json=chat(png_base64)), 504)
    assert "max_completion_tokens" in error["message"]


def test_too_large_a_picture(make_api: MakeApi, png_base64: str) -> None:
    client = TestClient(make_api(limits={"image_mb": 0.001}), headers={"Origin": "http://localhost:3000"})
    assert error_of(client.post(CHAT, json=chat(png_base64)), 413)["code"] == "file_too_large"


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
        (b"{}", "text/plain"),
        (b"{}", "application/json"),
        (b'{"model": 1}', "application/json"),
        (b'{"model": "a", "model": "b"}', "application/json"),
        (b'{"model": NaN}', "application/json"),
    ],
)
def test_bodies_that_are_no_requests(client: TestClient, path: str, body: bytes, content_type: str) -> None:
    error = error_of(client.post(path, content=body, headers={"Content-Type": content_type}), 400)
    assert error["code"] == "invalid_request"


def test_a_page_may_send_a_key(client: TestClient) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}
    response = client.options(CHAT, headers=asked)
    assert response.status_code == 200
    assert "authorization" in response.headers["access-control-allow-headers"]
