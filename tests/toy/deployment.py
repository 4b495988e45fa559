"""A notebook: a deployment with state, whose methods differ in whether they may be replayed.

The first note `crash` ends the process in the middle of the call: after the note was written, before the call returns.
"""

import os
from pathlib import Path

from tests.toy.settings import NotebookConfig


class NotebookDeployment:
    """Keeps one file for each note."""

    def __init__(self, config: NotebookConfig) -> None:
        self._folder = config.folder

    async def add(self, note: str, *, request_id: str, deadline: float) -> int:
        return self._write(f"{request_id}.txt", note)

    async def add_blindly(self, note: str, *, deadline: float) -> int:
        return self._write(f"{len(self._paths())}.txt", note)

    async def notes(self, *, deadline: float) -> list[str]:
        return sorted(path.read_text() for path in self._paths())

    def _write(self, name: str, note: str) -> int:
        (self._folder / name).write_text(note)
        crashed = self._folder / "crashed"
        if note == "crash" and not crashed.exists():
            crashed.touch()
            os._exit(1)
        return len(self._paths())

    def _paths(self) -> list[Path]:
        return list(self._folder.glob("*.txt"))
