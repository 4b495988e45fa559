"""The messages between a replica and the process that decodes a file for it.

A message is a pickle, and behind it the buffers that the pickle refers to (PEP 574). Large buffers travel in a memfd,
so that they are copied once. What comes out of a decoder is not trusted: its pickles may only name the classes that
results consist of.
"""

import io
import mmap
import os
import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

from deployments.errors import ServiceError

MAX_INLINE_BYTES = 1024 * 1024
"""Buffers of more bytes than this together are sent in a memfd."""

_HEADER = struct.Struct("<QQ?")
"""Bytes of the pickle, bytes of all buffers, and whether these are in a memfd."""

_LOADABLE = {
    ("builtins", "MemoryError"),
    ("builtins", "RuntimeError"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("fractions", "Fraction"),
}
"""Besides these, only dataclasses and errors of the deployments."""


@dataclass(frozen=True)
class Job:
    """What the child is to do: call `function`, a name in the fork server's module."""

    function: str
    arguments: tuple[Any, ...]
    num_bytes: int
    """Size of the file."""
    deadline: float
    """Epoch seconds."""
    memory_bytes: int
    """What the child may allocate."""


@dataclass(frozen=True)
class Read:
    """The child asks for a part of the file; the answer is exactly these bytes, without framing."""

    start: int
    end: int


@dataclass(frozen=True)
class Progress:
    """How far the child has got, for the message of a timeout."""

    text: str


@dataclass(frozen=True)
class Value:
    """A value that the function has yielded."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The function has raised."""

    error: Exception
    traceback: str


@dataclass(frozen=True)
class Done:
    """The function has returned."""


Message = Job | Read | Progress | Value | Failed | Done


def send(connection: socket.socket, message: Message) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    data = pickle.dumps((data, [view.nbytes for view in views]), protocol=5)
    num_bytes = sum(view.nbytes for view in views)
    is_shared = num_bytes > MAX_INLINE_BYTES
    header = _HEADER.pack(len(data), num_bytes, is_shared)
    if not is_shared:
        connection.sendall(b"".join([header, data, *views]))
        return
    fd = os.memfd_create("decoded")
    try:
        for view in views:
            _write(fd, view)
        socket.send_fds(connection, [header], [fd])
    finally:
        os.close(fd)
    connection.sendall(data)


def receive(connection: socket.socket, *, is_trusted: bool = False) -> Message:
    """Return the next message; raises EOFError when the other side is gone.

    Only the replica is trusted, by the process that it has started.
    """
    load = pickle.loads if is_trusted else _load
    header, fds, _, _ = socket.recv_fds(connection, _HEADER.size, 1)
    try:
        header += receive_exactly(connection, _HEADER.size - len(header))
        data_bytes, num_bytes, is_shared = _HEADER.unpack(header)
        data, sizes = load(receive_exactly(connection, data_bytes), buffers=[])
        if is_shared:
            view = memoryview(mmap.mmap(fds[0], num_bytes, mmap.MAP_PRIVATE))
        else:
            view = memoryview(bytearray(receive_exactly(connection, num_bytes)))
        message: Message = load(data, buffers=_split(view, sizes))
        return message
    finally:
        for fd in fds:
            os.close(fd)


def receive_exactly(connection: socket.socket, num_bytes: int) -> bytes:
    """Return that many bytes; raises EOFError when the other side is gone before."""
    parts = bytearray()
    while len(parts) < num_bytes:
        part = connection.recv(min(num_bytes - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _split(view: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    views, start = [], 0
    for size in sizes:
        views.append(view[start : start + size])
        start += size
    return views


def _write(fd: int, view: memoryview) -> None:
    view = view.cast("B") if view.nbytes else view
    while view.nbytes:
        view = view[os.write(fd, view) :]


def _load(data: bytes, *, buffers: Sequence[memoryview]) -> Any:
    return _Unpickler(io.BytesIO(data), buffers=buffers).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _LOADABLE:
            return super().find_class(module, name)
        if module.startswith("deployments.") and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and (is_dataclass(found) or issubclass(found, ServiceError)):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a decoder's result")
