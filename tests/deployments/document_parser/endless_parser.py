"""Takes the place of deployments.document_parser.documents in a sandbox, and hangs as on a hostile file."""

import ctypes
import io
from collections.abc import Iterator
from typing import Any


def read_pages(file: io.RawIOBase, *arguments: Any) -> Iterator[Any]:
    ctypes.PyDLL(None).sleep(1000)
    yield
