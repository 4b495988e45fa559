"""Takes the place of deployments.frame_sampler.sampler in a sandbox, and hangs as libav does on a hostile file."""

import ctypes
import io
from collections.abc import Iterator
from typing import Any


def sample_frames(file: io.RawIOBase, *arguments: Any) -> Iterator[Any]:
    ctypes.PyDLL(None).sleep(1000)
    yield
