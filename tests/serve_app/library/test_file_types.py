"""Which files the library takes, and under which names."""

import asyncio

import pytest

from deployments.errors import InvalidFileType
from deployments.library.types import NewFile
from deployments.media import as_media
from serve_app.file_types import clean_name, clean_path, identify
from tests.serve_app.conftest import MP4, WAV


def identified(content: bytes, filename: str, path: str = "") -> NewFile:
    return asyncio.run(identify(as_media(content), filename, path))


@pytest.mark.parametrize(
    ("content", "filename", "file_type", "file_format", "mime_type"),
    [
        (b"%PDF-1.7\n", "a.pdf", "document", "pdf", "application/pdf"),
        (b"# Title\n\nText.\n", "notes.md", "document", "markdown", "text/markdown"),
        (b"Just some text.\n", "notes", "document", "text", "text/plain"),
        (b"<!DOCTYPE html><html><body>Hi</body></html>", "page.htm", "document", "html", "text/html"),
        (WAV, "talk.mp4", "audio", "wav", "audio/wav"),
        (MP4, "clip.bin", "video", "mp4", "video/mp4"),
    ],
)
def test_the_content_decides_the_type(
    content: bytes, filename: str, file_type: str, file_format: str, mime_type: str
) -> None:
    new_file = identified(content, filename)
    assert (new_file.file_type, new_file.file_format, new_file.mime_type) == (file_type, file_format, mime_type)
    assert new_file.filename == new_file.path == filename


def test_a_picture_is_an_image(png: bytes) -> None:
    assert identified(png, "x.pdf").file_type == "image"


@pytest.mark.parametrize("content", [b"\x7fELF" + bytes(60), b"PK\x03\x04" + bytes(60), bytes(64)])
def test_other_content_is_refused_with_what_is_supported(content: bytes) -> None:
    with pytest.raises(InvalidFileType, match="Supported: PDF, DOCX, HTML, MD, TXT, JPG"):
        identified(content, "x.pdf")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("a\x00b\x1b[31m.txt", "ab[31m.txt"),
        ("/", ""),
        ("Übersicht 2024.pdf", "Übersicht 2024.pdf"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_name_is_never_a_path_and_safe_to_show(given: str, shown: str) -> None:
    assert clean_name(given) == shown


def test_a_path_never_leads_upwards() -> None:
    assert clean_path("../a/./b\\..\\c.txt") == "a/b/c.txt"
    assert clean_path("/etc//passwd") == "etc/passwd"


def test_a_file_without_a_name_gets_one() -> None:
    assert identified(b"%PDF-1.7\n", "").filename == "unnamed.pdf"
