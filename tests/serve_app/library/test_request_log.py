"""Each request is logged in one line, with nothing of what it asked for or was answered."""

import logging
from collections.abc import Iterator

import pytest

from tests.serve_app.library.conftest import LibraryApi


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("ray.serve")
    propagate, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.DEBUG, "ray.serve"):
        yield caplog
    logger.propagate = propagate


def test_a_request_is_one_line_with_route_status_and_time(api: LibraryApi, log: pytest.LogCaptureFixture) -> None:
    file_id = api.upload(b"The secret garden.", "secret.txt")
    api.client.post("/search", json={"query": "secret garden"})
    api.client.get("/files", params={"q": "secret"})
    api.client.get(f"/files/{file_id}/content")
    api.client.get("/secret/place")
    api.client.get("/files/12345")
    api.client.get("/files", headers={"Origin": "http://secret.example"})
    lines = [record for record in log.records if hasattr(record, "http_route")]
    assert [(line.http_method, line.http_route, line.http_status) for line in lines] == [  # type: ignore[attr-defined]
        ("POST", "/upload", 200),
        ("POST", "/search", 200),
        ("GET", "/files", 200),
        ("GET", "/files/{file_id}/content", 200),
        ("GET", "(no route)", 404),
        ("GET", "/files/{file_id}", 404),
        ("GET", "(no route)", 403),
    ]
    assert all(line.duration_ms >= 0 for line in lines)  # type: ignore[attr-defined]
    assert not [record for record in log.records if "secret" in f"{record.getMessage()} {record.__dict__}"]
