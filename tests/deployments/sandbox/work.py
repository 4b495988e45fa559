"""Functions that the tests run in a sandbox."""

import ctypes
import os
import pickle
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile
from deployments.sandbox import messages


def read_parts(file: BinaryIO, sizes: list[int], cancellation: Cancellation) -> Iterator[bytes]:
    for size in sizes:
        yield bytes(file.read(size))


def make_array(file: BinaryIO, num_items: int, cancellation: Cancellation) -> Iterator[Any]:
    yield {"array": np.arange(num_items, dtype=np.int32), "pid": os.getpid()}


def hang(file: BinaryIO, cancellation: Cancellation) -> Iterator[Any]:
    """Hold the GIL in C for good, as a decoder does; no check is ever reached."""
    cancellation.check("2 of 5 frames were decoded")
    yield os.getpid()
    ctypes.PyDLL(None).sleep(1000)


def allocate(file: BinaryIO, num_bytes: int, cancellation: Cancellation) -> Iterator[int]:
    block = np.ones(num_bytes, np.uint8)
    yield int(block[-1])


def crash(file: BinaryIO, cancellation: Cancellation) -> Iterator[Any]:
    yield "before"
    ctypes.string_at(0)


def refuse(file: BinaryIO, cancellation: Cancellation) -> Iterator[Any]:
    raise InvalidFile("It is broken.")
    yield


def fail(file: BinaryIO, cancellation: Cancellation) -> Iterator[Any]:
    raise KeyError("a bug of ours")
    yield


def be_patient(file: BinaryIO, cancellation: Cancellation) -> Iterator[Any]:
    while True:
        cancellation.check("it was still at it")
        time.sleep(0.001)
    yield


def take_over(file: BinaryIO, module: str, name: str, cancellation: Cancellation) -> Iterator[Any]:
    """Send the replica a pickle that names an object of its modules, and calls it."""
    parts = [b"c", module.encode(), b"\n", name.encode(), b"\n(S'true'\ntR."]
    messages.pickle = _Forged(b"".join(parts))  # type: ignore[attr-defined, assignment]
    yield None


class _Forged:
    PickleBuffer = pickle.PickleBuffer

    def __init__(self, data: bytes) -> None:
        self._data = data

    def dumps(self, value: Any, protocol: int, buffer_callback: Any = None) -> bytes:
        if buffer_callback is not None:
            return self._data
        return pickle.dumps(value, protocol=protocol)
