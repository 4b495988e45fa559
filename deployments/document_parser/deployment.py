"""The document parser as a Ray Serve deployment."""

import weakref
from contextlib import closing
from typing import Any, TypeVar

import numpy as np

from deployments.cancellation import Cancellation
from deployments.document_parser.settings import DocumentParserConfig
from deployments.document_parser.types import DocumentFormat, DocumentInfo, LineRange, Page, Paragraph
from deployments.log import hide_expected_errors
from deployments.media import Media, Pixels
from deployments.places import Box
from deployments.sandbox import Sandbox
from deployments.worker_threads import ThreadedDeployment, WorkerThreads

T = TypeVar("T")

PARSER_MEMORY_BYTES = 1024 * 2**20
"""What reading one document may take."""
PARSER_SILENCE_S = 60.0
"""A parser that neither reads nor yields a page for so long is at work on a file that is made for that.

It has the lowest priority, so on a busy machine an honest page may take seconds.
"""

PARSER_MAX_IDLE_S = 120.0
"""The sandbox's fork server ends when no document was read for so long; starting it takes 0.3 s."""


class DocumentParserDeployment(ThreadedDeployment):
    """Reads documents, two at a time, each call in a process of its own.

    A document is opened anew for every call, so a call holds only what it returns. Opening a PDF takes a hundredth of a
    second; other formats are read from their beginning, so few long calls are faster than many short ones.
    """

    def __init__(self, document_parser: DocumentParserConfig) -> None:
        self._sandbox = Sandbox(
            "deployments.document_parser.documents",
            PARSER_MEMORY_BYTES,
            max_silence_s=PARSER_SILENCE_S,
            max_idle_s=PARSER_MAX_IDLE_S,
        )
        weakref.finalize(self, self._sandbox.close)
        hide_expected_errors()
        self._max_pages = document_parser.max_pages
        self._threads = WorkerThreads("document_parser")

    async def open(self, media: Media, document_format: DocumentFormat, *, deadline: float) -> DocumentInfo:
        """Return what is known about a document; raises InvalidFile if it cannot be opened."""
        [info] = await self._run(
            "open_document", media, document_format, self._max_pages, returns=DocumentInfo, deadline=deadline
        )
        return info

    async def read_pages(self, media: Media, first: int, count: int, *, deadline: float) -> list[Page]:
        """Return at most `count` pages of a PDF, from page `first` (from 1) on."""
        return await self._run("read_pages", media, first, count, self._max_pages, returns=Page, deadline=deadline)

    async def find_words(self, media: Media, page: int, ranges: list[LineRange], *, deadline: float) -> list[Box]:
        """Return where characters of a page's lines are; raises NotFound for no such page."""
        [boxes] = await self._run("find_words", media, page, ranges, self._max_pages, returns=list, deadline=deadline)
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes]

    async def render_page(self, media: Media, page: int, dpi: int, *, deadline: float) -> Pixels:
        """Return a page of a PDF as it is displayed; raises NotFound for no such page."""
        [pixels] = await self._run(
            "render_page", media, page, dpi, self._max_pages, returns=np.ndarray, deadline=deadline
        )
        return pixels

    async def read_paragraphs(
        self, media: Media, document_format: DocumentFormat, first: int, count: int, *, deadline: float
    ) -> list[Paragraph]:
        """Return at most `count` paragraphs, from the one at position `first` (from 0) on; fewer only at the end."""
        batches = await self._run(
            "read_paragraphs", media, document_format, first, count, returns=list, deadline=deadline
        )
        return [paragraph for batch in batches for paragraph in batch]

    async def _run(self, function: str, media: Media, *arguments: Any, returns: type[T], deadline: float) -> list[T]:
        """Return the values of type `returns` that a function of documents.py yields."""

        def work(cancellation: Cancellation) -> list[T]:
            with closing(self._sandbox.run(function, media, *arguments, cancellation=cancellation)) as values:
                return list(values)

        return await self._threads.run(work, deadline)
