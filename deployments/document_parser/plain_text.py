"""Reads text files: paragraphs are separated by empty lines or form feeds."""

import re
from collections.abc import Iterator

from deployments.document_parser.paragraphs import Block

_SEPARATOR = re.compile(r"\n[ \t]*(?:\n[ \t]*)+|\s*\f\s*")


def text_blocks(text: str) -> Iterator[Block]:
    start = 0
    for match in _SEPARATOR.finditer(text):
        yield Block(text[start : match.start()])
        start = match.end()
    yield Block(text[start:])
