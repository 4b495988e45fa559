"""The format of a document is told by its content."""

import pytest

from deployments.document_parser.sniffing import sniff_document
from deployments.document_parser.types import DocumentFormat
from tests.deployments.document_parser.docx_files import docx, paragraph, zipped
from tests.deployments.document_parser.pdf_files import one_page

DOCX = docx(paragraph("text"))


@pytest.mark.parametrize(
    ("content", "filename", "expected"),
    [
        (one_page(b""), "a.docx", "pdf"),
        (b"\n\nrubbish before the header\n" + one_page(b""), "", "pdf"),
        (DOCX, "a.pdf", "docx"),
        (docx(paragraph("text"), main="word/document2.xml"), "", "docx"),
        (DOCX[: len(DOCX) // 2] + b"\0" * 100, "", "docx"),
        (zipped({"xl/workbook.xml": ""}), "a.docx", None),
        (zipped({"a.txt": "word/document"}), "a.docx", None),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 999 + "EncryptedPackage".encode("utf-16-le"), "", "docx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 999, "a.doc", None),
        (b"<!DOCTYPE html><p>x", "a.txt", "html"),
        (b"\xef\xbb\xbf \n<!-- x --><html>", "", "html"),
        ("<html>Größe".encode("utf-16"), "", "html"),
        (b"text with a <b>tag</b>", "a.html", "html"),
        (b"text with a <b>tag</b>", "a.txt", "text"),
        (b"no tags < at all", "a.htm", "text"),
        (b"# Heading", "a.md", "markdown"),
        (b"# Heading", "folder/A.MARKDOWN", "markdown"),
        (b"# Heading", "a.txt", "text"),
        (b"plain", "", "text"),
        (b"plain text" * 11 + b"\x1a", "", "text"),
        ("Größe".encode("cp1252"), "", "text"),
        ("Größe".encode("utf-16-le") * 9, "", "text"),
        ("日本語".encode("shift_jis"), "", "text"),
        (b"a" * 65535 + "ß".encode() * 9, "", "text"),
        (b"{\\rtf1 text}", "a.txt", None),
        (b"%!PS-Adobe-3.0", "a.txt", None),
        (b"\x7fELF\x02\x01\x01\0", "a.txt", None),
        (bytes(range(256)), "a.txt", None),
        (b"", "a.txt", None),
    ],
)
def test_the_format_is_told_by_content(content: bytes, filename: str, expected: DocumentFormat | None) -> None:
    assert sniff_document(content, filename) == expected
