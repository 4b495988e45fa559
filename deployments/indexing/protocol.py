"""What the rest of the graph may call on the indexing."""

from typing import Protocol


class IndexingService(Protocol):
    """`deadline` is in epoch seconds."""

    async def look_for_work(self, *, deadline: float) -> None:
        """Look for new jobs at once, instead of at the next poll."""
