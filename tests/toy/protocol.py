"""What the rest of the graph may call on the notebook."""

from typing import Protocol


class NotebookService(Protocol):
    """`deadline` is in epoch seconds."""

    async def add(self, note: str, *, deadline: float) -> int:
        """Add a note and return the number of notes. A request that is replayed adds its note once."""

    async def add_blindly(self, note: str, *, deadline: float) -> int:
        """Add a note and return the number of notes. If it were replayed, its note would be there twice."""

    async def hang(self, *, deadline: float) -> None:
        """Work for ten minutes, whatever the deadline."""

    async def notes(self, *, deadline: float) -> list[str]: ...
