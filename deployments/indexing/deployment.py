"""The indexing as a Ray Serve deployment: a loop beside the calls."""

import asyncio

from deployments.captioner.protocol import CaptionerService
from deployments.document_parser.protocol import DocumentParserService
from deployments.embedder.protocol import EmbedderService
from deployments.frame_sampler.protocol import FrameSamplerService
from deployments.indexing.services import Services, Share, WaitForTurn
from deployments.indexing.settings import IndexingConfig
from deployments.indexing.worker import Worker
from deployments.library.protocol import LibraryService
from deployments.log import hide_expected_errors
from deployments.text_reader.protocol import TextReaderService
from deployments.transcriber.protocol import TranscriberService


class IndexingDeployment:
    """Indexes the library's files in the background from `__init__` on.

    Create it on a running event loop, as Serve does: the work is a task of that loop.
    """

    def __init__(
        self,
        indexing: IndexingConfig,
        *,
        library: LibraryService,
        document_parser: DocumentParserService,
        text_reader: TextReaderService,
        embedder: EmbedderService,
        captioner: CaptionerService,
        transcriber: TranscriberService,
        frame_sampler: FrameSamplerService,
        wait_for_turn: WaitForTurn,
        share: Share,
    ) -> None:
        """`wait_for_turn` is awaited before each call that reads or embeds, and returns when no interactive request is
        being worked on. `share` puts media into memory that all processes share, for a block."""
        hide_expected_errors()
        services = Services(
            document_parser, text_reader, embedder, captioner, transcriber, frame_sampler, wait_for_turn, share
        )
        self._worker = Worker(indexing, library, services)
        self._task = asyncio.get_running_loop().create_task(self._worker.run(), name="indexing")

    async def look_for_work(self, *, deadline: float) -> None:
        """Look for new jobs at once, instead of at the next poll."""
        self._worker.wake()

    async def close(self) -> None:
        """Stop working; a file that is being indexed is taken up again when its lease has run out."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def check_health(self) -> None:
        """Have Serve replace this replica if the loop has ended, which no error should do."""
        if self._task.done():
            raise RuntimeError("The indexing has stopped.")
