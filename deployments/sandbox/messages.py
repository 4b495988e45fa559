"""The messages between a replica and the process that decodes a file for it.

The replica sends one Job, as a pickle, which the process trusts. What comes back is not trusted: a hostile file may
have taken over the decoder. It is JSON, followed by the bytes of arrays. Nothing in it is executed: it becomes plain
values, arrays of numbers, and dataclasses and errors of the deployments. Large arrays travel in a memfd, so that they
are copied once.
"""

import fcntl
import json
import mmap
import os
import pickle
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from deployments import errors
from deployments.errors import ServiceError

MAX_INLINE_BYTES = 1024 * 1024
"""Buffers of more bytes than this together are sent in a memfd."""
MAX_JSON_BYTES = 8 * 1024 * 1024
"""Of one message, without its buffers. The lines of a page are the longest thing in it, 300 bytes each."""

_HEADER = struct.Struct("<QQ?")
"""Bytes of the JSON, bytes of all buffers, and whether these are in a memfd."""
_JOB_HEADER = struct.Struct("<Q")

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE
"""Without these, the sender could take back the pages of a memfd, and the receiver would be killed by SIGBUS."""
_ARRAY_KINDS = "biuf"
"""Kinds of numpy types whose bytes may be anything: booleans and numbers. Those of objects are addresses."""
_BUILTIN_ERRORS = {"MemoryError": MemoryError, "RuntimeError": RuntimeError}


class InvalidMessage(Exception):
    """The other side has sent something that is not a message."""


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


Message = Read | Progress | Value | Failed | Done
"""What the child sends."""


def send_job(connection: socket.socket, job: Job) -> None:
    data = pickle.dumps(job)
    connection.sendall(_JOB_HEADER.pack(len(data)) + data)


def receive_job(connection: socket.socket) -> Job:
    """Return the job; raises EOFError when the replica is gone."""
    [num_bytes] = _JOB_HEADER.unpack(_receive_exactly(connection, _JOB_HEADER.size))
    job: Job = pickle.loads(_receive_exactly(connection, num_bytes))
    return job


def send(connection: socket.socket, message: Message) -> None:
    """Send a message; raises TypeError if it holds a value of a type that cannot be sent."""
    buffers: list[memoryview] = []
    data = json.dumps(_encode(message, buffers)).encode()
    num_bytes = sum(buffer.nbytes for buffer in buffers)
    is_shared = num_bytes > MAX_INLINE_BYTES
    header = _HEADER.pack(len(data), num_bytes, is_shared)
    if not is_shared:
        connection.sendall(b"".join([header, data, *buffers]))
        return
    fd = os.memfd_create("decoded", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for buffer in buffers:
            _write(fd, buffer)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(connection, [header], [fd])
    finally:
        os.close(fd)
    connection.sendall(data)


def receive(connection: socket.socket, max_bytes: int, wait: Callable[[], None] = lambda: None) -> Message:
    """Return the next message, whose buffers have at most `max_bytes`.

    `wait` is called before each read from the connection; it may wait for data, or raise. Raises InvalidMessage, and
    EOFError when the other side is gone.
    """
    wait()
    header, fds, _, _ = socket.recv_fds(connection, _HEADER.size, 1)
    try:
        header += _receive_exactly(connection, _HEADER.size - len(header), wait)
        json_bytes, num_bytes, is_shared = _HEADER.unpack(header)
        if json_bytes > MAX_JSON_BYTES or num_bytes > (max_bytes if is_shared else MAX_INLINE_BYTES):
            raise InvalidMessage(f"{json_bytes} and {num_bytes} bytes are too many")
        data = _receive_exactly(connection, json_bytes, wait)
        if is_shared:
            buffer = _mapped(fds, num_bytes)
        else:
            buffer = memoryview(bytearray(_receive_exactly(connection, num_bytes, wait)))
        return _decode_message(data, buffer)
    finally:
        for fd in fds:
            os.close(fd)


def _receive_exactly(connection: socket.socket, num_bytes: int, wait: Callable[[], None] = lambda: None) -> bytes:
    """Return that many bytes; raises EOFError when the other side is gone before."""
    parts = bytearray()
    while len(parts) < num_bytes:
        wait()
        part = connection.recv(min(num_bytes - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _mapped(fds: Sequence[int], num_bytes: int) -> memoryview:
    """Return the content of a memfd, as memory that the receiver may write to."""
    try:
        if fcntl.fcntl(fds[0], fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise InvalidMessage("the memfd is not sealed")
        return memoryview(mmap.mmap(fds[0], num_bytes, mmap.MAP_PRIVATE))
    except (IndexError, OSError, ValueError) as error:
        raise InvalidMessage(f"there is no memfd of {num_bytes} bytes: {error!r}") from error


def _write(fd: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(fd, view) :]


def _encode(value: Any, buffers: list[memoryview]) -> Any:
    """Return `value` as JSON has it: scalars as they are, anything else as a list of its kind and its content.

    The bytes of arrays and byte strings are appended to `buffers`.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        buffers.append(memoryview(value))
        return ["bytes", len(value)]
    if isinstance(value, np.ndarray) and value.dtype.kind in _ARRAY_KINDS:
        buffers.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return ["array", value.nbytes, value.dtype.str, list(value.shape)]
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple", [_encode(item, buffers) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[_encode(key, buffers), _encode(item, buffers)] for key, item in value.items()]]
    if isinstance(value, Fraction):
        return ["Fraction", [value.numerator, value.denominator]]
    if isinstance(value, ServiceError | MemoryError | RuntimeError):
        return ["error", type(value).__name__, str(value)]
    if is_dataclass(value):
        content = {field.name: _encode(getattr(value, field.name), buffers) for field in fields(value)}
        return ["dataclass", type(value).__module__, type(value).__name__, content]
    raise TypeError(f"{type(value)} cannot be sent out of a sandbox")


def _decode_message(data: bytes, buffer: memoryview) -> Message:
    try:
        message = _Decoder(buffer).decode(json.loads(data))
    except Exception as error:  # The sender may have made it up.
        raise InvalidMessage(f"a message cannot be decoded: {error!r}") from error
    if not isinstance(message, Message):
        raise InvalidMessage(f"{type(message)} is not a message")
    return message


class _Decoder:
    """Reverses `_encode`. `buffer` holds all buffers of the message, one behind the other."""

    def __init__(self, buffer: memoryview) -> None:
        self._rest = buffer

    def decode(self, encoded: Any) -> Any:
        """Return the value; raises any Exception if there is none."""
        if not isinstance(encoded, list):
            return encoded
        match encoded:
            case ["bytes", num_bytes]:
                return bytes(self._take(num_bytes))
            case ["array", num_bytes, dtype_name, shape]:
                dtype = np.dtype(str(dtype_name))
                if dtype.kind not in _ARRAY_KINDS:
                    raise InvalidMessage(f"an array of {dtype}")
                return np.ndarray(tuple(shape), dtype, self._take(num_bytes))
            case ["list", items]:
                return [self.decode(item) for item in items]
            case ["tuple", items]:
                return tuple(self.decode(item) for item in items)
            case ["dict", items]:
                return {self.decode(key): self.decode(item) for key, item in items}
            case ["Fraction", [numerator, denominator]]:
                return Fraction(numerator, denominator)
            case ["error", name, text]:
                return _error_class(name)(text)
            case ["dataclass", module, name, content]:
                return _dataclass(module, name)(**{field: self.decode(item) for field, item in content.items()})
        raise InvalidMessage(f"a value of no known kind: {encoded!r:.60}")

    def _take(self, num_bytes: int) -> memoryview:
        taken, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return taken


def _error_class(name: str) -> type[Exception]:
    found = _BUILTIN_ERRORS.get(name) or getattr(errors, name)
    if not (isinstance(found, type) and issubclass(found, ServiceError | MemoryError | RuntimeError)):
        raise InvalidMessage(f"{name} is not an error that a decoder may raise")
    return found


def _dataclass(module: str, name: str) -> Any:
    """Return a dataclass of the deployments, from a module that this process has imported."""
    found = getattr(sys.modules[module], name) if module.startswith("deployments.") else None
    if not (isinstance(found, type) and is_dataclass(found) and found.__module__ == module):
        raise InvalidMessage(f"{module}.{name} is not part of a decoder's result")
    return found
