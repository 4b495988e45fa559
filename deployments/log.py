"""What the log of a replica leaves out."""

import asyncio
import logging

from deployments.errors import ProcessingFailed, ServiceError
from deployments.work import WorkCancelled


def leave_out_expected_errors() -> None:
    """Keep Serve from logging a traceback for every failure that the client is told about, or left before.

    To be called in a replica: it changes the logger of the whole process.
    """
    logging.getLogger("ray.serve").addFilter(_is_unexpected)


def _is_unexpected(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ProcessingFailed):
        return True
    return not isinstance(error, ServiceError | WorkCancelled | asyncio.CancelledError)
