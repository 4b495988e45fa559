"""The log of a replica, which Serve writes to the terminal and to files."""

import asyncio
import logging

from deployments.cancellation import WorkCancelled
from deployments.errors import ProcessingFailed, ServiceError

logger = logging.getLogger("ray.serve")
"""Serve gives this logger its handlers and its level; everything of ours writes to it."""


def hide_expected_errors() -> None:
    """Keep Serve from logging a traceback for errors that are not bugs: cancelled calls, and every ServiceError but
    ProcessingFailed.

    Call it in a replica: it changes the logger of the whole process.
    """
    logger.addFilter(_is_unexpected)


def _is_unexpected(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ProcessingFailed):
        return True
    return not isinstance(error, ServiceError | WorkCancelled | asyncio.CancelledError)
