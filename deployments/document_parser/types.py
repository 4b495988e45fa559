"""Requests and results of the document parser; these values cross process boundaries."""

from dataclasses import dataclass
from typing import Literal

from deployments.places import Box, TextLine

DocumentFormat = Literal["pdf", "docx", "html", "markdown", "text"]

ParagraphKind = Literal["heading", "text", "list_item", "table_row", "footnote", "comment", "header", "footer"]


@dataclass(frozen=True)
class DocumentInfo:
    """What is known about a document before its text is read."""

    num_pages: int
    """Of a PDF; 0 for formats without pages."""
    title: str = ""


@dataclass(frozen=True)
class Page:
    """A page of a PDF."""

    number: int
    """Physical, from 1."""
    printed_number: str | None
    """The number by its page label, such as `iv`, where it differs from `number`."""
    lines: list[TextLine]
    """In reading order. A line that ends within a hyphenated word ends with a soft hyphen (U+00AD)."""
    has_usable_text: bool
    """False for a scan, and where the text layer is garbage: then `lines` is empty, and OCR must read the page.

    A scan is a picture of at least half of the page with next to no text on it. True for a page that is empty or
    damaged: OCR could not read it either.
    """
    pictures_to_read: tuple[Box, ...] = ()
    """Where a page with usable text also has large pictures without any: lines that OCR finds in them belong to it."""


@dataclass(frozen=True)
class LineRange:
    """Some characters of a line of a PDF's page."""

    box: Box
    """Of the whole line, by which it is found again; to a ten-thousandth of the page."""
    start: int
    end: int
    """Exclusive. Positions in the line's text without soft hyphens and with single spaces."""
    text: str
    """These characters."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of a document without pages."""

    number: int
    """Position in the document, from 1; a table's row counts as one paragraph.

    Footnotes, endnotes, comments, headers and footers follow the body.
    """
    heading: tuple[str, ...]
    """The headings that it stands under, the outermost first; a footnote's are those of the place that it is for."""
    text: str
    kind: ParagraphKind = "text"
