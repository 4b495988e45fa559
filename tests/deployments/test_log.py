import logging

import pytest

from deployments.errors import InvalidFile, ProcessingFailed
from deployments.log import hide_expected_errors


@pytest.fixture
def logger() -> logging.Logger:
    serve_logger = logging.getLogger("ray.serve")
    kept = list(serve_logger.filters)
    serve_logger.propagate = True
    yield serve_logger
    serve_logger.filters[:] = kept


def test_only_bugs_of_ours_reach_the_log(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    hide_expected_errors()
    for error in (InvalidFile("broken"), ProcessingFailed("ours"), KeyError("a bug")):
        try:
            raise error
        except Exception:
            logger.exception("Request failed with %s", type(error).__name__)
    logger.error("no exception")
    assert [record.getMessage() for record in caplog.records] == [
        "Request failed with ProcessingFailed",
        "Request failed with KeyError",
        "no exception",
    ]
