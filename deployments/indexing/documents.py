"""The pipelines of documents: pages of a PDF, and paragraphs of the other formats."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Literal

from deployments.document_parser.types import DocumentFormat, Page, Paragraph
from deployments.errors import DeadlineExceeded, InvalidFile, InvalidFileType
from deployments.indexing.joined_text import clean
from deployments.indexing.line_layout import runs_on, separators
from deployments.indexing.pieces import Break, Piece
from deployments.indexing.reading import Reading
from deployments.library.types import NewChunk, SourceInfo
from deployments.places import Box, TextLine

PAGES_PER_CALL = 16
PARAGRAPHS_PER_CALL = 10_000
"""Many, because the parser reads such a document from its beginning for every call; 10,000 take some ten megabytes."""
OCR_DPI = 200
"""Of a page that is rendered for OCR. The text reader's figures were measured with this."""
MAX_UNREADABLE_IN_A_ROW = PAGES_PER_CALL
"""After so many pages that cannot be read, the whole file counts as damaged."""

FORMATS: dict[str, DocumentFormat] = {
    "pdf": "pdf",
    "docx": "docx",
    "html": "html",
    "htm": "html",
    "markdown": "markdown",
    "md": "markdown",
    "text": "text",
    "txt": "text",
}
"""By `FileRecord.file_format`, in lower case."""

_BODY = ("heading", "text", "list_item", "table_row")
"""Kinds of paragraphs that follow each other; the other kinds stand apart from them."""


async def read_document(reading: Reading) -> AsyncGenerator[NewChunk, None]:
    """Yield the chunks of a document, in reading order; raises InvalidFile for one that cannot be read at all."""
    document_format = FORMATS.get(reading.file.file_format.lower())
    if document_format is None:
        raise InvalidFileType(f"Documents of the format {reading.file.file_format!r} cannot be read.")
    pieces = _Pages(reading).pieces() if document_format == "pdf" else _paragraph_pieces(reading, document_format)
    async for chunk in reading.chunks(pieces):
        yield chunk


class _Pages:
    """Reads the pages of a PDF in batches. A damaged page is left out, and counted."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._services = reading.services
        self._num_unreadable = 0
        self._num_unreadable_in_a_row = 0

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield the lines of all pages."""
        num_pages = (await self._services.open_document(self._reading.media, "pdf")).num_pages
        last_line = ""
        for first in range(1, num_pages + 1, PAGES_PER_CALL):
            for page in await self._batch(first, min(PAGES_PER_CALL, num_pages + 1 - first)):
                await self._report(page.number - 1, num_pages)
                for piece in await self._page_pieces(page, last_line):
                    yield piece
                    last_line = piece.text
        if self._num_unreadable == num_pages:
            raise InvalidFile(f"None of the PDF's pages can be read; it has {num_pages:,}.")
        if self._num_unreadable:
            self._reading.remarks.append(f"{self._num_unreadable} of {num_pages} pages cannot be read.")
        await self._report(num_pages, num_pages)

    async def _batch(self, first: int, count: int) -> list[Page]:
        """Return pages; if that fails, those of them that can be read one at a time."""
        try:
            return await self._services.read_pages(self._reading.media, first, count)
        except (InvalidFile, DeadlineExceeded) as error:
            if count == 1:
                self._count_unreadable(error)
                return []
        return [page for number in range(first, first + count) for page in await self._batch(number, 1)]

    async def _page_pieces(self, page: Page, last_line: str) -> list[Piece]:
        place: SourceInfo = {"page": page.number}
        if page.printed_number is not None:
            place["printed_page"] = page.printed_number
        by_ocr: SourceInfo = {**place, "extraction": "ocr"}
        if not page.has_usable_text:
            return _line_pieces(await self._scanned_lines(page.number), by_ocr, last_line)
        self._num_unreadable_in_a_row = 0
        pieces = _line_pieces(page.lines, place, last_line)
        if page.pictures_to_read:
            lines = await self._scanned_lines(page.number)
            in_pictures = [line for line in lines if any(_is_inside(line.box, box) for box in page.pictures_to_read)]
            pieces += _line_pieces(in_pictures, by_ocr, "")
        return pieces

    async def _scanned_lines(self, number: int) -> list[TextLine]:
        try:
            pixels = await self._services.render_page(self._reading.media, number, OCR_DPI)
        except (InvalidFile, DeadlineExceeded) as error:
            self._count_unreadable(error)
            return []
        self._num_unreadable_in_a_row = 0
        return (await self._services.read_pixels(pixels)).lines

    def _count_unreadable(self, error: InvalidFile | DeadlineExceeded) -> None:
        self._num_unreadable += 1
        self._num_unreadable_in_a_row += 1
        if self._num_unreadable_in_a_row >= MAX_UNREADABLE_IN_A_ROW:
            raise InvalidFile(f"{self._num_unreadable_in_a_row} pages in a row cannot be read: {error}") from error

    async def _report(self, num_done: int, num_pages: int) -> None:
        fraction = num_done / num_pages if num_pages else 1.0
        await self._reading.report("reading", fraction, f"page {num_done} of {num_pages}")


def _line_pieces(lines: list[TextLine], place: SourceInfo, last_line: str) -> list[Piece]:
    """Return the lines of the page at `place`; `last_line` is the last one of the page before."""
    if not lines:
        return []
    first_break = Break.CLAUSE if runs_on(last_line, lines[0].text) else Break.SENTENCE
    joints = [(" ", first_break), *separators(lines)]
    return [
        Piece(line.text, {**place, **line_place(line)}, {"type": "document"}, *joint, is_border=index == 0)
        for index, (line, joint) in enumerate(zip(lines, joints, strict=True))
    ]


def _is_inside(line: Box, picture: Box) -> bool:
    """Return whether the middle of a line is in a picture."""
    x, y = (line[0] + line[2]) / 2, (line[1] + line[3]) / 2
    return picture[0] <= x <= picture[2] and picture[1] <= y <= picture[3]


def line_place(line: TextLine) -> SourceInfo:
    """Return where a line is, and its words if that is known: `box` and `words`, as in deployments/source_info.py."""
    place: SourceInfo = {"box": _rounded(line.box)}
    words = []
    start = 0
    for word, box in zip(line.text.split(), line.words, strict=bool(line.words)):
        if text := clean(word):
            words.append([start, start + len(text), *_rounded(box)])
            start += len(text) + 1
    return {**place, "words": words} if words else place


def _rounded(box: Box) -> list[float]:
    """Return a box to a ten-thousandth of the page, which is finer than a pixel on a screen."""
    return [round(float(coordinate), 4) for coordinate in box]


async def _paragraph_pieces(
    reading: Reading, document_format: Literal["docx", "html", "markdown", "text"]
) -> AsyncIterator[Piece]:
    """Yield the paragraphs of a document without pages.

    Headings that follow each other are one chunk with the text below them, and have its place.
    """
    headings: list[Paragraph] = []
    before: Paragraph | None = None
    position = 0
    while paragraphs := await reading.services.read_paragraphs(
        reading.media, document_format, position, PARAGRAPHS_PER_CALL
    ):
        for number, paragraph in enumerate(paragraphs, position + 1):
            if paragraph.kind == "heading":
                headings.append(paragraph)
                continue
            is_border = bool(headings) or (before is not None and _is_apart(before, paragraph))
            for piece in _with_headings(headings, paragraph, is_border):
                yield piece
            headings, before = [], paragraph
            await reading.report("reading", _fraction(number, position, len(paragraphs)), f"{number} paragraphs")
        if len(paragraphs) < PARAGRAPHS_PER_CALL:
            break
        position += len(paragraphs)
    if headings:
        for piece in _with_headings(headings[:-1], headings[-1], is_border=True):
            yield piece


def _fraction(number: int, position: int, batch_size: int) -> float:
    """Return how much is done after so many paragraphs, `position` of them before the batch.

    How many there are is not known before the last batch, so as much as one more is expected behind a full one.
    """
    start, end = (n / (n + PARAGRAPHS_PER_CALL) for n in (position, position + batch_size))
    if batch_size < PARAGRAPHS_PER_CALL:
        end = 1.0
    return start + (end - start) * (number - position) / batch_size


def _is_apart(before: Paragraph, paragraph: Paragraph) -> bool:
    kinds = [None if each.kind in _BODY else each.kind for each in (before, paragraph)]
    return before.heading != paragraph.heading or kinds[0] != kinds[1]


def _with_headings(headings: list[Paragraph], paragraph: Paragraph, is_border: bool) -> list[Piece]:
    """Return a paragraph, after the headings before it."""
    common: SourceInfo = {"type": "document", "heading": list(paragraph.heading)}
    return [
        Piece(each.text, {"paragraph": each.number}, common, "\n", Break.SENTENCE, is_border and index == 0)
        for index, each in enumerate([*headings, paragraph])
    ]
