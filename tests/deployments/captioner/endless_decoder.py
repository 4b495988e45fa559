"""A decoder that never ends, for a sandbox."""

import ctypes
import io
from collections.abc import Iterator
from typing import Any

from deployments.cancellation import Cancellation


def decode_and_crop(file: io.RawIOBase, *arguments: Any) -> Iterator[Any]:
    cancellation = arguments[-1]
    assert isinstance(cancellation, Cancellation)
    cancellation.check("the image was being decoded")
    ctypes.PyDLL(None).sleep(1000)
    yield
