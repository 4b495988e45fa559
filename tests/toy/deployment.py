"""A notebook: a deployment with state, whose methods differ in whether they may be replayed.

The first note `crash` ends the process in the middle of the call: after the note was written, before the call returns.
"""

import os
import time
from pathlib import Path

from deployments.worker_threads import ThreadedDeployment, WorkerThreads
from tests.toy.settings import NotebookConfig


class NotebookDeployment(ThreadedDeployment):
    """Keeps one file for each note."""

    def __init__(self, notebook: NotebookConfig) -> None:
        self._folder = notebook.folder
        self._threads = WorkerThreads("notebook")

    async def add(self, note: str, *, request_id: str, deadline: float) -> int:
        result = self._folder / f"{request_id}.result"
        if not result.exists():
            count = self._write(f"{request_id}.txt", note)
            result.write_text(str(count))
            self._crash_once(note)
        return int(result.read_text())

    async def add_blindly(self, note: str, *, deadline: float) -> int:
        count = self._write(f"{len(self._paths())}.txt", note)
        self._crash_once(note)
        return count

    async def hang(self, *, deadline: float) -> None:
        await self._threads.run(lambda cancellation: time.sleep(600), deadline)

    async def notes(self, *, deadline: float) -> list[str]:
        return sorted(path.read_text() for path in self._paths())

    def _write(self, name: str, note: str) -> int:
        (self._folder / name).write_text(note)
        return len(self._paths())

    def _crash_once(self, note: str) -> None:
        crashed = self._folder / "crashed"
        if note == "crash" and not crashed.exists():
            crashed.touch()
            os._exit(1)

    def _paths(self) -> list[Path]:
        return list(self._folder.glob("*.txt"))
