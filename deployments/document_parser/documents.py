"""Opens documents and reads their pages or paragraphs. These functions run in a sandbox (see deployments/sandbox)."""

import io
import os
from collections.abc import Iterator
from itertools import islice

from deployments.cancellation import Cancellation
from deployments.document_parser.docx import DocxFile
from deployments.document_parser.html import html_title, read_html
from deployments.document_parser.markdown import markdown_blocks
from deployments.document_parser.paragraphs import Block, Headings, number_paragraphs
from deployments.document_parser.pdf import PdfFile
from deployments.document_parser.plain_text import text_blocks
from deployments.document_parser.text_encoding import decode
from deployments.document_parser.types import DocumentFormat, DocumentInfo, LineRange, Page, Paragraph
from deployments.media import Pixels
from deployments.places import Box

_BATCH = 200
"""Paragraphs in one message to the replica."""
_LOWEST_PRIORITY = 19


def open_document(
    file: io.RawIOBase, document_format: DocumentFormat, max_pages: int, cancellation: Cancellation
) -> Iterator[DocumentInfo]:
    match document_format:
        case "pdf":
            with PdfFile(file, max_pages) as pdf:
                yield pdf.info()
        case "docx":
            yield DocxFile(file).info()
        case "html":
            yield DocumentInfo(num_pages=0, title=html_title(_content(file)))
        case "markdown" | "text":
            decode(_content(file))
            yield DocumentInfo(num_pages=0)


def read_pages(
    file: io.RawIOBase, first: int, count: int, max_pages: int, cancellation: Cancellation
) -> Iterator[Page]:
    yield_to_others()
    with PdfFile(file, max_pages) as pdf:
        for number in range(first, min(first + count, pdf.num_pages + 1)):
            cancellation.check(f"page {number} of {pdf.num_pages} was being read")
            yield pdf.read_page(number)


def find_words(
    file: io.RawIOBase, number: int, ranges: list[LineRange], max_pages: int, cancellation: Cancellation
) -> Iterator[list[Box]]:
    with PdfFile(file, max_pages) as pdf:
        yield pdf.find_words(number, ranges)


def render_page(
    file: io.RawIOBase, number: int, dpi: int, max_pages: int, cancellation: Cancellation
) -> Iterator[Pixels]:
    with PdfFile(file, max_pages) as pdf:
        yield pdf.render_page(number, dpi)


def read_paragraphs(
    file: io.RawIOBase, document_format: DocumentFormat, first: int, count: int, cancellation: Cancellation
) -> Iterator[list[Paragraph]]:
    """Yield lists of paragraphs, from the one at position `first` (from 0) on."""
    yield_to_others()
    paragraphs = islice(_paragraphs(file, document_format), first + count)
    while batch := list(islice(paragraphs, _BATCH)):
        cancellation.check(f"paragraph {batch[-1].number} was being read")
        if batch[-1].number > first:
            yield [paragraph for paragraph in batch if paragraph.number > first]


def warm_up() -> None:
    """Import what processes forked from this one would otherwise import for each text in an old encoding."""
    import charset_normalizer  # noqa: F401


def yield_to_others() -> None:
    """Give this process the lowest priority: nobody waits for what it reads."""
    os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)


def _paragraphs(file: io.RawIOBase, document_format: DocumentFormat) -> Iterator[Paragraph]:
    if document_format == "docx":
        return DocxFile(file).paragraphs()
    return number_paragraphs(_blocks(_content(file), document_format), Headings())


def _blocks(content: bytes, document_format: DocumentFormat) -> Iterator[Block]:
    if document_format == "html":
        return read_html(content)
    text = decode(content)
    return markdown_blocks(text) if document_format == "markdown" else text_blocks(text)


def _content(file: io.RawIOBase) -> bytes:
    content = bytearray(file.seek(0, io.SEEK_END))
    file.seek(0)
    file.readinto(content)
    return bytes(content)
