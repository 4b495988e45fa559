"""What every pipeline works with."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from deployments.indexing.chunking import Chunker
from deployments.indexing.pieces import Piece
from deployments.indexing.services import Services
from deployments.indexing.settings import IndexingConfig
from deployments.library.types import FileRecord, NewChunk
from deployments.media import Media

ReportProgress = Callable[[str, float, str], Awaitable[None]]
"""Takes a stage, the fraction of the file that is done, and a message for the user, which may be empty. They are shown
while the file is being indexed."""


@dataclass(frozen=True)
class Reading:
    """A file that is being read."""

    file: FileRecord
    media: Media
    services: Services
    config: IndexingConfig
    report: ReportProgress
    remarks: list[str] = field(default_factory=list)
    """What the user should know about a file that was read only in part, one sentence each."""

    def chunks(self, pieces: AsyncIterable[Piece]) -> AsyncIterator[NewChunk]:
        """Yield chunks of the configured size."""
        return Chunker(self.config.chunk_tokens, self.services.count_tokens).chunks(pieces)


async def as_stream(pieces: list[Piece]) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece
