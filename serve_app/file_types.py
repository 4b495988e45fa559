"""Which files the library takes, and what they are: decided by their content."""

import asyncio
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath

from deployments.document_parser.sniffing import sniff_document
from deployments.document_parser.types import DocumentFormat
from deployments.errors import InvalidFileType
from deployments.library.types import FileType, NewFile
from deployments.media import Media
from serve_app.modalities import MODALITIES
from serve_app.sniffing import sniff

DOCUMENT_MIME_TYPES: Mapping[DocumentFormat, str] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "markdown": "text/markdown",
    "text": "text/plain",
}

MAX_NAME_CHARACTERS = 255
MAX_PATH_CHARACTERS = 1024


async def identify(media: Media, filename: str, path: str) -> NewFile:
    """Return what kind of file this is, under a name that is safe to show; raises InvalidFileType.

    `path` is the name with the folders that it comes from, or empty. The name only decides between Markdown and text.
    """
    # In a thread, because a malicious file can make it read thousands of headers.
    file_type, file_format, mime_type = await asyncio.to_thread(_type_of, media, filename)
    name = clean_name(filename) or f"unnamed.{file_format}"
    return NewFile(name, clean_path(path) or name, file_type, mime_type, file_format)


def clean_name(filename: str) -> str:
    """Return the last part of a file's name, without control characters; empty if nothing is left."""
    # Clients may send a whole path, with the separators of their own system.
    return _printable(PureWindowsPath(PurePosixPath(filename).name).name)[:MAX_NAME_CHARACTERS]


def clean_path(path: str) -> str:
    """Return a relative path with `/` between its parts, without parts that lead upwards."""
    parts = [_printable(part) for part in path.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part not in ("", ".", ".."))[-MAX_PATH_CHARACTERS:]


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable()).strip()


def _type_of(media: Media, filename: str) -> tuple[FileType, str, str]:
    found = sniff(media.data)
    if found is not None and found.file_format is not None:
        # A file whose tracks cannot be read may be either; its decoder says what is wrong with it.
        kind = "video" if "video" in found.kinds else min(found.kinds)
        return kind, found.file_format.name.lower(), found.file_format.mime_type
    document_format = sniff_document(media.data, filename)
    if document_format is not None:
        return "document", document_format, DOCUMENT_MIME_TYPES[document_format]
    looks = f"looks like {found.description}, which is not supported" if found else "is of no known type"
    media_names = ", ".join(file_format.name for modality in MODALITIES for file_format in modality.formats)
    raise InvalidFileType(f"The content {looks}. Supported: PDF, DOCX, HTML, MD, TXT, {media_names}.")
