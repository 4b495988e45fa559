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
from dataclasses import dataclass
from typing import Any

MAX_INLINE_BYTES = 1024 * 1024
"""Buffers of more bytes than this together are sent in a memfd."""

_HEADER = struct.Struct("<QQ?")
"""Bytes of the pickle, bytes of all buffers, and whether these are in a memfd."""

_LOADABLE_MODULES = ("deployments.", "numpy", "fractions", "builtins")
_LOADABLE_BUILTINS = {"slice", "frozenset", "set", "complex", "bytearray"}


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


def receive(connection: socket.socket) -> Message:
    """Return the next message; raises EOFError when the other side is gone."""
    header, fds, _, _ = socket.recv_fds(connection, _HEADER.size, 1)
    try:
        header += receive_exactly(connection, _HEADER.size - len(header))
        data_bytes, num_bytes, is_shared = _HEADER.unpack(header)
        data, sizes = _load(receive_exactly(connection, data_bytes), [])
        if is_shared:
            shared = mmap.mmap(fds[0], num_bytes, mmap.MAP_PRIVATE)
            return _load(data, _split(memoryview(shared), sizes))
        return _load(data, _split(memoryview(bytearray(receive_exactly(connection, num_bytes))), sizes))
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


def _load(data: bytes, buffers: Sequence[memoryview]) -> Any:
    return _Unpickler(io.BytesIO(data), buffers=buffers).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_ours = module == "builtins" and (name in _LOADABLE_BUILTINS or name.endswith(("Error", "Exception")))
        if is_ours or (module != "builtins" and module.startswith(_LOADABLE_MODULES)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a decoder's result")
