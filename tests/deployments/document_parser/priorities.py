"""Takes the place of deployments.document_parser.documents in a sandbox, and says with which priority that works."""

import io
import os
from collections.abc import Iterator
from typing import Any

from deployments.document_parser import documents


def read_pages(file: io.RawIOBase, *arguments: Any) -> Iterator[int]:
    return _priority_after(documents.read_pages(file, *arguments))


def render_page(file: io.RawIOBase, *arguments: Any) -> Iterator[int]:
    return _priority_after(documents.render_page(file, *arguments))


def read_paragraphs(file: io.RawIOBase, *arguments: Any) -> Iterator[list[int]]:
    for priority in _priority_after(documents.read_paragraphs(file, *arguments)):
        yield [priority]


def _priority_after(values: Iterator[Any]) -> Iterator[int]:
    for _ in values:
        pass
    yield os.getpriority(os.PRIO_PROCESS, 0)
