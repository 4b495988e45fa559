"""What the rest of the graph may call on the document parser."""

from typing import Protocol

from deployments.document_parser.types import DocumentFormat, DocumentInfo, LineRange, Page, Paragraph
from deployments.media import Media, Pixels
from deployments.places import Box


class DocumentParserService(Protocol):
    """`deadline` is in epoch seconds. Every method raises InvalidFile for a document that cannot be opened, which says
    why (encrypted, damaged, too large), and DeadlineExceeded."""

    async def open(self, media: Media, document_format: DocumentFormat, *, deadline: float) -> DocumentInfo: ...

    async def read_pages(self, media: Media, first: int, count: int, *, deadline: float) -> list[Page]:
        """Return at most `count` pages of a PDF, from page `first` (from 1) on. A page that is damaged has no text."""

    async def find_words(self, media: Media, page: int, ranges: list[LineRange], *, deadline: float) -> list[Box]:
        """Return where characters of a page's lines are, in fractions of the displayed page: a box for each run of
        them that stands together. Of a line that is not found again, its whole box."""

    async def render_page(self, media: Media, page: int, dpi: int, *, deadline: float) -> Pixels:
        """Return a page of a PDF as it is displayed, at most 4000 pixels a side; raises NotFound for no such page."""

    async def read_paragraphs(
        self, media: Media, document_format: DocumentFormat, first: int, count: int, *, deadline: float
    ) -> list[Paragraph]:
        """Return at most `count` paragraphs of a document without pages, from the one at position `first` (from 0)
        on; fewer only at its end."""
