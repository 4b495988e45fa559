"""The lock on a library's folder: one process owns it at a time.

It is an flock of the operating system, which the kernel releases when the process ends, however that happens. The file
also says who holds it, for the message to others.
"""

import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOCK_FILE = "lock"

_POLL_S = 0.1


class FolderInUse(Exception):
    """Another process holds the lock; the message names it."""


class FolderLock:
    """Held from its construction until `close`; the constructor raises FolderInUse after `wait_s`."""

    def __init__(self, folder: Path, wait_s: float = 0.0) -> None:
        self._file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._acquire(folder, time.monotonic() + wait_s)
            holder = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now(UTC).isoformat("T", "seconds"),
            }
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(holder).encode(), 0)
        except BaseException:
            self.close()
            raise
        # A forked child has the same open file, and would keep the lock beyond this process's end.
        os.register_at_fork(after_in_child=self.close)

    def close(self) -> None:
        """Release the lock."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _acquire(self, folder: Path, give_up_at: float) -> None:
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    raise FolderInUse(self._describe_holder(folder)) from None
                time.sleep(_POLL_S)
            else:
                return

    def _describe_holder(self, folder: Path) -> str:
        try:
            holder: dict[str, Any] = json.loads(os.pread(self._file, 4096, 0))
            name = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
        except (ValueError, KeyError):  # it has the lock, and is about to write its name
            name = "another process"
        return f"The library in {folder} is in use by {name}. Stop that one, or choose another folder."
