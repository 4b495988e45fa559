import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.errors import (
    DeadlineExceeded,
    FileTooLarge,
    InvalidFile,
    InvalidFileType,
    InvalidRequest,
    ModelNotLoaded,
    ProcessingFailed,
    RateLimited,
    ServerBusy,
    ServiceError,
)
from serve_app.error_handlers import error_body, error_response, status_of
from tests.serve_app.conftest import ORIGIN, MakeApi
from tests.serve_app.fakes import FakeGraph


def all_errors(base: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for cls in base.__subclasses__():
        yield cls
        yield from all_errors(cls)


PATH = "/api/analyze/image"
CONTRACT = {
    "INVALID_REQUEST": 400,
    "INVALID_FILE_TYPE": 400,
    "INVALID_FILE": 400,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "MODEL_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "FILE_TOO_LARGE": 413,
    "RANGE_NOT_SATISFIABLE": 416,
    "RATE_LIMITED": 429,
    "PROCESSING_FAILED": 500,
    "MODEL_NOT_LOADED": 503,
    "SERVER_BUSY": 503,
    "TIMEOUT": 504,
    "STORAGE_FULL": 507,
}


@pytest.mark.parametrize("cls", list(all_errors()))
def test_every_error_has_the_status_of_its_code(cls: type[ServiceError]) -> None:
    assert status_of(cls("why")) == CONTRACT[cls.code]


def test_every_code_of_the_contract_has_an_error() -> None:
    assert {cls.code for cls in all_errors()} == set(CONTRACT)


@pytest.mark.parametrize("cls", list(all_errors()))
def test_every_error_pickles_and_comes_back_equal(cls: type[ServiceError]) -> None:
    error = cls("why")
    error.retry_after_s = 7
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.retry_after_s) == (cls, "why", 7)


@pytest.mark.parametrize("cls", [RateLimited, ServerBusy, ModelNotLoaded])
def test_temporary_errors_say_when_to_retry(cls: type[ServiceError]) -> None:
    assert int(error_response(cls("why"), PATH).headers["Retry-After"]) > 0


def test_other_errors_do_not_say_when_to_retry() -> None:
    assert "Retry-After" not in error_response(InvalidFile("why"), PATH).headers


def test_the_body_is_the_documented_one() -> None:
    body = error_body(InvalidFile("why")).model_dump()
    assert set(body) == {"success", "error", "timestamp"}
    assert body["success"] is False
    assert body["error"] == {"code": "INVALID_FILE", "message": "why"}


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("why"),
        InvalidFile("why"),
        InvalidFileType("why"),
        FileTooLarge("why"),
        ModelNotLoaded("why"),
        ServerBusy("why"),
        DeadlineExceeded("why"),
        ProcessingFailed("why"),
        RuntimeError("a secret path"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_service_raises_reaches_a_page_of_another_origin(
    client: TestClient, graph: FakeGraph, png: bytes, error: Exception
) -> None:
    graph.captioner.error = error
    response = client.post("/api/analyze/image", files={"image": png})
    body: dict[str, Any] = response.json()
    assert set(body) == {"success", "error", "timestamp"}
    assert response.status_code == CONTRACT[body["error"]["code"]]
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "why" in body["error"]["message"] or isinstance(error, RuntimeError)


def faults(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged besides the line that every request has."""
    return [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_fault_of_the_server_is_logged_with_its_traceback_and_answered_with_only_the_request_id(
    client: TestClient, graph: FakeGraph, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    graph.captioner.error = RuntimeError("a secret path")
    response = client.post("/api/analyze/image", files={"image": png}, headers={"X-Request-ID": "3f2a-77"})
    assert response.status_code == 500
    assert "3f2a-77" in response.json()["error"]["message"]
    assert "secret" not in response.text
    [record] = faults(caplog)
    assert "3f2a-77" in record.getMessage()
    assert record.exc_info is not None
    assert "a secret path" in caplog.text


@pytest.mark.parametrize("request_id", ["a b", "x" * 200, "a\u00e9", "{evil}", ""])
def test_an_unsafe_request_id_is_neither_logged_nor_returned(
    client: TestClient, graph: FakeGraph, png: bytes, caplog: pytest.LogCaptureFixture, request_id: str
) -> None:
    graph.captioner.error = RuntimeError("ours")
    headers = {"X-Request-ID": request_id.encode("latin-1")}
    response = client.post("/api/analyze/image", files={"image": png}, headers=headers)
    assert response.status_code == 500
    assert not request_id or request_id not in response.text + caplog.text


def test_a_fault_of_the_client_is_not_logged(
    client: TestClient, graph: FakeGraph, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    graph.captioner.error = InvalidFile("why")
    client.post("/api/analyze/image", files={"image": png})
    assert not faults(caplog)


def test_a_failure_of_health_is_answered_as_json_too(
    make_api: MakeApi, graph: FakeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph.system, "statuses", None)
    response = TestClient(make_api(), headers={"Origin": ORIGIN}).get("/api/health")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "PROCESSING_FAILED"
    assert response.headers["access-control-allow-origin"] == ORIGIN
