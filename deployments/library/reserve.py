"""Room on the disk that is kept for deletions: without it, nothing could be deleted from a library on a full disk."""

import os
from pathlib import Path

from deployments.errors import StorageFull
from deployments.library.database import storage_errors
from deployments.log import logger

RESERVE_FILE = "reserve"
RESERVE_BYTES = 16 * 2**20
"""A deletion writes each page of the database that it clears, first to the log. So this is enough for a file of about
10 MB of text."""


class Reserve:
    """A file of RESERVE_BYTES in the library's folder, which can be given up."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESERVE_FILE
        self.keep()

    def keep(self) -> None:
        """Take the room, if there is so much."""
        if self._path.exists() and self._path.stat().st_size == RESERVE_BYTES:
            return
        try:
            with storage_errors(), self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except StorageFull:
            logger.warning("The disk has no room for %s, which a deletion from a full disk needs.", self._path)
            self.give_up()

    def give_up(self) -> None:
        """Give the room free."""
        self._path.unlink(missing_ok=True)
