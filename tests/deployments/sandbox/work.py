"""Functions that the tests run in a sandbox."""

import ctypes
import fcntl
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile
from deployments.frame_sampler.types import SampledFrame
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


def do_nothing(file: BinaryIO, cancellation: Cancellation) -> Iterator[int]:
    yield 1


def return_everything(file: BinaryIO, cancellation: Cancellation) -> Iterator[Any]:
    """Yield a value of each type that can be sent."""
    yield everything()


def everything() -> dict[Any, Any]:
    return {
        1: [None, True, -1.5, math.inf, "\u20ac\ud800", b"\0bytes"],
        "tuple": (Fraction(-1, 3), ["array", 3, "<i4", [3]]),
        ("fortran", 2): np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "no items": np.zeros((0, 3), np.int16),
        "dataclass": SampledFrame(3, 0.5, np.full((2, 2, 3), 7, np.uint8)),
        "error": InvalidFile("It is broken."),
    }


def return_what_cannot_be_sent(file: BinaryIO, cancellation: Cancellation) -> Iterator[Any]:
    yield np.array([object()])


# What a decoder might do that a hostile file has taken over. `file` has the connection to the replica.


def send_raw(file: Any, data: bytes, cancellation: Cancellation) -> Iterator[Any]:
    """Send JSON of the file's choice."""
    file._connection.sendall(messages._HEADER.pack(len(data), 0, False) + data)
    time.sleep(1000)
    yield


def claim(file: Any, json_bytes: int, num_bytes: int, is_shared: bool, cancellation: Cancellation) -> Iterator[Any]:
    """Announce a message of that size, and go on sending for ever."""
    file._connection.sendall(messages._HEADER.pack(json_bytes, num_bytes, is_shared))
    while True:
        file._connection.sendall(bytes(2**20))
    yield


def break_off(file: Any, cancellation: Cancellation) -> Iterator[Any]:
    """Send half of a header, and then nothing."""
    file._connection.sendall(b"half")
    time.sleep(1000)
    yield


def dawdle(file: Any, cancellation: Cancellation) -> Iterator[Any]:
    """Send a message a byte at a time."""
    file._connection.sendall(messages._HEADER.pack(1000, 0, False))
    while True:
        file._connection.sendall(b" ")
        time.sleep(0.01)
    yield


def refuse_to_read(file: Any, cancellation: Cancellation) -> Iterator[Any]:
    """Ask for the file, and do not read it."""
    messages.send(file._connection, messages.Read(0, file.num_bytes))
    time.sleep(1000)
    yield


def take_memory_back(file: Any, is_sealed: bool, cancellation: Cancellation) -> Iterator[Any]:
    """Send an array in a memfd, and shrink that while the replica reads it."""
    num_bytes = 2 * messages.MAX_INLINE_BYTES
    fd = os.memfd_create("decoded", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, num_bytes)
    if is_sealed:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, messages._SEALS)
    data = json.dumps(messages._encode(messages.Value(np.zeros(num_bytes, np.uint8)), [])).encode()
    socket.send_fds(file._connection, [messages._HEADER.pack(len(data), num_bytes, True)], [fd])
    file._connection.sendall(data)
    time.sleep(0.2)
    try:
        os.ftruncate(fd, 0)
    except PermissionError:
        messages.send(file._connection, messages.Value("the kernel kept it"))
    time.sleep(1000)
    yield
