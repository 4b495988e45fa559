"""Takes the place of audio_files.py in a sandbox, and hangs as libav does on a file that is made for that."""

import ctypes
import io
from collections.abc import Iterator
from typing import Any

from deployments.cancellation import Cancellation


def decode_chunks(
    file: io.RawIOBase, declared: Any, max_gap_s: float, track_number: int | None, cancellation: Cancellation
) -> Iterator[Any]:
    ctypes.PyDLL(None).sleep(1000)
    yield
