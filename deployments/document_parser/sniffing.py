"""Tells the format of a document by its content, without opening it.

The check is shallow, because it runs where nothing untrusted may be opened: a damaged document passes, and reading it
then fails. Markdown is plain text that looks the same; only the file's name tells that it is meant.
"""

import re
from pathlib import PurePosixPath

from deployments.containers import Content
from deployments.document_parser.text_encoding import decode_sample, is_text
from deployments.document_parser.types import DocumentFormat

_PDF_HEADER_BYTES = 1024
"""How far into the file the header of a PDF may begin: PDF 1.7 reference, implementation note 13."""
_SAMPLE_BYTES = 64 * 1024
_MAX_DIRECTORY_BYTES = 1024 * 1024
"""How much of a ZIP file's directory is looked at."""

_ZIP_SIGNATURE = b"PK\x03\x04"
_ZIP_DIRECTORY_END = b"PK\x05\x06"
_ZIP_DIRECTORY_END_BYTES = 22 + 0xFFFF
"""With the longest comment."""
_WORD_PART = re.compile(rb"word/document\d*\.xml")
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")

_NO_PLAIN_TEXT = re.compile(r"\s*(?:\{\\rtf|%!PS|\{\\urtf)")
"""Formats that are written in text, of which a reader wants something else."""
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|script|style|meta|link|div|h1|table|p"
    r"|article|main|section)\b",
    re.IGNORECASE | re.DOTALL,
)
_HTML_TAG = re.compile(r"</?[a-z][a-z0-9]*[^<>]*>", re.IGNORECASE)
_HTML_SUFFIXES = (".html", ".htm", ".xhtml")
_MARKDOWN_SUFFIXES = (".md", ".markdown", ".mkd", ".mdown")


def sniff_document(content: Content, filename: str) -> DocumentFormat | None:
    """Return the format of a document, or None if the content is no document.

    `filename` only decides between formats that are plain text. Media must be ruled out before.
    """
    view = memoryview(content)
    head = bytes(view[:_SAMPLE_BYTES])
    if b"%PDF-" in head[:_PDF_HEADER_BYTES]:
        return "pdf"
    if head.startswith(_ZIP_SIGNATURE):
        return "docx" if _is_word(view) else None
    if head.startswith(_COMPOUND_FILE):
        # An encrypted DOCX, which the parser refuses by saying so; without encryption, it is an old binary document.
        return "docx" if _ENCRYPTED_PACKAGE in bytes(view) else None
    if not is_text(head):
        return None
    text = decode_sample(head)
    if _NO_PLAIN_TEXT.match(text):
        return None
    suffix = PurePosixPath(filename).suffix.lower()
    if suffix in _MARKDOWN_SUFFIXES:
        return "markdown"
    if _HTML_START.match(text) or (suffix in _HTML_SUFFIXES and _HTML_TAG.search(text)):
        return "html"
    return "text"


def _is_word(view: memoryview) -> bool:
    """Return whether a ZIP file has the text part of a Word document.

    A damaged one without a directory at its end counts if the part is among the first.
    """
    end_start = max(0, len(view) - _ZIP_DIRECTORY_END_BYTES)
    tail = bytes(view[end_start:])
    position = tail.rfind(_ZIP_DIRECTORY_END)
    if position < 0 or position + 20 > len(tail):
        return bool(_WORD_PART.search(bytes(view[:_SAMPLE_BYTES])))
    size, start = (int.from_bytes(tail[position + at : position + at + 4], "little") for at in (12, 16))
    directory = bytes(view[start : start + min(size, _MAX_DIRECTORY_BYTES)])
    return bool(_WORD_PART.search(directory))
