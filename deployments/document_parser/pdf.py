"""Reads and renders PDF files with pdfium, which is not thread-safe: one file per process."""

import ctypes
import io
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Self

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from deployments.counted import counted
from deployments.document_parser.display import Display
from deployments.document_parser.form_fields import read_fields
from deployments.document_parser.page_text import PlacedLine, read_characters, read_lines
from deployments.document_parser.pictures import find_pictures, is_scan
from deployments.document_parser.text_layer import is_readable
from deployments.document_parser.types import DocumentInfo, LineRange, Page
from deployments.document_parser.word_boxes import boxes_of
from deployments.errors import InvalidFile, NotFound
from deployments.log import logger
from deployments.media import Pixels
from deployments.places import Box, TextLine

MAX_RENDERED_SIDE_PX = 4000
_POINTS_PER_INCH = 72


class PdfFile:
    """An open PDF. Scripts, links, attachments and XFA forms in it are never looked at."""

    def __init__(self, file: io.RawIOBase, max_pages: int) -> None:
        """Raises InvalidFile if the file cannot be opened, needs a password, or has more than `max_pages`."""
        content = (ctypes.c_char * file.seek(0, io.SEEK_END))()
        file.seek(0)
        file.readinto(memoryview(content).cast("B"))
        try:
            self._pdf = pdfium.PdfDocument(content)
        except pdfium.PdfiumError as error:
            raise InvalidFile(_reason(error)) from error
        self.num_pages = len(self._pdf)
        if self.num_pages > max_pages:
            raise InvalidFile(f"The PDF has {self.num_pages:,} pages; at most {max_pages:,} are accepted.")
        if self._pdf.get_formtype() != pdfium_c.FORMTYPE_NONE:
            self._pdf.init_forms()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._pdf.close()

    def info(self) -> DocumentInfo:
        return DocumentInfo(self.num_pages, title=self._pdf.get_metadata_value("Title").strip())

    def read_page(self, number: int) -> Page:
        """Return a page, from 1."""
        label = self._pdf.get_page_label(number - 1).strip()
        printed_number = label if label and label != str(number) else None
        try:
            page = self._pdf[number - 1]
        except pdfium.PdfiumError:
            logger.warning("Page %d of a PDF is damaged", number)
            return Page(number, printed_number, lines=[], has_usable_text=True)
        with closing(page):
            display = Display.of(page)
            pictures = find_pictures(page, display)
            lines = self._read_lines(page, display)
            unread = pictures.without_text(lines)
            if any(is_scan(box) for box in unread) or (not lines and pictures.has_objects):
                return Page(number, printed_number, lines=[], has_usable_text=False)
            return Page(number, printed_number, lines, has_usable_text=True, pictures_to_read=tuple(unread))

    def render_page(self, number: int, dpi: int) -> Pixels:
        """Return a page as it is displayed, forms included, at most MAX_RENDERED_SIDE_PX a side.

        Raises NotFound for no such page, and InvalidFile for one that is damaged.
        """
        with closing(self._page(number)) as page:
            # Slightly less, because a side is rounded up.
            largest = (MAX_RENDERED_SIDE_PX - 0.01) / max(page.get_size())
            bitmap = page.render(scale=min(dpi / _POINTS_PER_INCH, largest), rev_byteorder=True, draw_annots=True)
            return np.ascontiguousarray(bitmap.to_numpy())

    def find_words(self, number: int, ranges: Sequence[LineRange]) -> list[Box]:
        """Return where characters of a page's lines are; raises as `render_page` does."""
        with closing(self._page(number)) as page:
            display = Display.of(page)
            with self._text(page, display) as lines:
                return [box for wanted in ranges for box in boxes_of(wanted, lines, display)]

    def _page(self, number: int) -> pdfium.PdfPage:
        """Return a page, from 1; raises NotFound for no such page, and InvalidFile for one that is damaged."""
        if not 1 <= number <= self.num_pages:
            raise NotFound(f"The PDF has {counted(self.num_pages, 'page')}; there is no page {number}.")
        try:
            return self._pdf[number - 1]
        except pdfium.PdfiumError as error:
            raise InvalidFile(f"Page {number} of the PDF is damaged.") from error

    def _read_lines(self, page: pdfium.PdfPage, display: Display) -> list[TextLine]:
        """Return the lines of a page in reading order; none if its text layer is garbage."""
        with self._text(page, display) as lines:
            return [line.line for line in lines]

    @contextmanager
    def _text(self, page: pdfium.PdfPage, display: Display) -> Iterator[list[PlacedLine]]:
        """Yield the lines of a page, whose characters can be placed within the block."""
        fields = read_fields(page, display)
        text_page = pdfium_c.FPDFText_LoadPage(page)
        if not text_page:
            yield []
            return
        try:
            characters = read_characters(text_page)
            if not is_readable(characters):
                characters = ""
            yield read_lines(text_page, characters, display, fields)
        finally:
            pdfium_c.FPDFText_ClosePage(text_page)


def _reason(error: pdfium.PdfiumError) -> str:
    if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
        return "The PDF is encrypted and needs a password. Save a copy without one and send that."
    if error.err_code == pdfium_c.FPDF_ERR_SECURITY:
        return "The PDF is encrypted in a way that is not supported. Save a copy without encryption and send that."
    return "The PDF is damaged or has no pages. Save or export it again and send that."
