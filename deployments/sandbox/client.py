"""A replica's side of the sandbox."""

import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile, ProcessingFailed, ServerBusy
from deployments.log import logger
from deployments.media import Media
from deployments.sandbox.messages import (
    Done,
    Failed,
    InvalidMessage,
    Job,
    Progress,
    Read,
    Value,
    receive,
    send_job,
)

_ROOT = Path(__file__).resolve().parent.parent.parent
_POLL_S = 0.02
"""How often a cancelled or late job is noticed while its process is silent."""
_SEND_TIMEOUT_S = 10.0
"""How long a process may take to read what it has asked for; an intact one reads it at once."""
_MAX_FORK_S = 10.0
"""A fork server that has not answered for so long hangs, and is replaced; it takes milliseconds."""
_SERVER_END_S = 0.2
"""How long after the end of its children the end of a fork server may be noticed."""


class Sandbox:
    """Calls functions of one module on untrusted files, each call in a process of its own. Thread-safe.

    The functions take a seekable, read-only file first and a Cancellation last, and yield values.
    """

    def __init__(
        self, module: str, memory_bytes: int, *, max_silence_s: float = math.inf, max_idle_s: float | None = None
    ) -> None:
        """Start the fork server, which imports `module`.

        A call may allocate `memory_bytes`, and must read, report progress or yield at least every `max_silence_s`. With
        `max_idle_s`, the fork server starts at the first call instead, and ends after so many seconds without a call.
        """
        self._module = module
        self._max_silence_s = max_silence_s
        self._memory_bytes = memory_bytes
        self._max_idle_s = max_idle_s
        self._lock = threading.Lock()
        self._num_calls = 0
        self._ending: threading.Timer | None = None
        self._is_started = False
        if max_idle_s is None:
            self._start()

    def run(
        self, function: str, media: Media, *arguments: Any, cancellation: Cancellation
    ) -> Generator[Any, None, None]:
        """Yield what `function(file, *arguments, cancellation)` yields.

        Raises the ServiceError that the function raises, InvalidFile if the file makes its decoder crash or run out of
        memory, ServerBusy if no process can be started, and what `cancellation.check` raises. The process is gone when
        this ends.
        """
        with self._in_use():
            yield from self._run(function, media, *arguments, cancellation=cancellation)

    def close(self) -> None:
        """End the fork server and with it every running call."""
        with self._lock:
            self._end()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Start the fork server if it does not run, and end it `max_idle_s` after the end of the last such block."""
        with self._lock:
            if self._ending is not None:
                self._ending.cancel()
            if not self._is_started:
                self._start()
            self._num_calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_calls -= 1
                if self._max_idle_s is not None and not self._num_calls:
                    self._ending = threading.Timer(self._max_idle_s, self._end_if_idle)
                    self._ending.daemon = True
                    self._ending.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            if not self._num_calls:
                self._end()

    def _end(self) -> None:
        if self._is_started:
            self._is_started = False
            self._control.close()
            self._server.kill()
            self._server.wait()

    def _run(
        self, function: str, media: Media, *arguments: Any, cancellation: Cancellation
    ) -> Generator[Any, None, None]:
        progress = ""
        last_message_s = time.monotonic()

        def wait_for_data() -> None:
            """Return when the process has sent something, or is gone."""
            while True:
                cancellation.check(progress)
                if poll.poll(_POLL_S * 1000):
                    return
                if time.monotonic() - last_message_s > self._max_silence_s:
                    raise InvalidFile(
                        f"Decoding the file made no progress for {self._max_silence_s:g} seconds: it is damaged, or "
                        "made to exhaust the machine."
                    )

        connection, poll, pidfd = self._fork(cancellation)
        try:
            send_job(connection, Job(function, arguments, len(media), cancellation.deadline, self._memory_bytes))
            last_message_s = time.monotonic()
            while True:
                message = receive(connection, self._memory_bytes, wait_for_data)
                last_message_s = time.monotonic()
                if isinstance(message, Read):
                    connection.sendall(media.data[message.start : message.end])
                elif isinstance(message, Progress):
                    progress = message.text
                elif isinstance(message, Value):
                    yield message.value
                    last_message_s = time.monotonic()
                elif isinstance(message, Failed):
                    raise self._failure(message.error, message.traceback)
                elif isinstance(message, Done):
                    return
        except (EOFError, BrokenPipeError, ConnectionResetError, TimeoutError, InvalidMessage) as error:
            if self._has_ended():
                raise ProcessingFailed("The process that starts decoders has ended.") from error
            logger.error("The process that ran %s.%s crashed on a file: %r", self._module, function, error)
            raise InvalidFile(
                "The file makes its decoder crash: it is damaged. Save or convert it again and send that."
            ) from error
        finally:
            _kill(pidfd)
            connection.close()

    def _failure(self, error: Exception, traceback: str) -> Exception:
        if isinstance(error, MemoryError):
            return InvalidFile(
                f"Decoding the file needs more than {self._memory_bytes // 2**20} MB of memory: it is damaged, or made "
                "to exhaust the machine."
            )
        if isinstance(error, RuntimeError):
            logger.error("A decoder failed:\n%s", traceback)
        return error

    def _fork(self, cancellation: Cancellation) -> tuple[socket.socket, "select.poll", int]:
        """Return the connection to a new process, what tells when it has sent something, and its pidfd.

        A fork server that has died is started again. Raises ServerBusy if the process cannot be started.
        """
        for _ in range(2):
            connection, theirs = socket.socketpair()
            try:
                with theirs:
                    socket.send_fds(self._control, [b"j"], [theirs.fileno()])
                connection.settimeout(_SEND_TIMEOUT_S)
                poll = select.poll()
                poll.register(connection, select.POLLIN)
                start = time.monotonic()
                while not poll.poll(_POLL_S * 1000):
                    cancellation.check()
                    if time.monotonic() - start > _MAX_FORK_S:
                        self._server.kill()
                        raise TimeoutError("The fork server does not answer.")
                return connection, poll, _receive_pidfd(connection)
            except (EOFError, OSError) as error:
                connection.close()
                if not self._has_ended():
                    raise ServerBusy("No process could be started for the file; try again in a moment.") from error
                self._restart()
            except BaseException:
                connection.close()
                raise
        raise ProcessingFailed("The process that starts decoders ends again and again.")

    def _has_ended(self) -> bool:
        """Return whether the fork server has ended, which ends all its children."""
        end = time.monotonic() + _SERVER_END_S
        while self._server.poll() is None and time.monotonic() < end:
            time.sleep(_POLL_S)
        return self._server.poll() is not None

    def _restart(self) -> None:
        with self._lock:
            if self._server.poll() is not None:
                logger.error("The fork server of %s died and is started again", self._module)
                self._control.close()
                self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "deployments.sandbox.server", str(theirs.fileno()), self._module]
        # One thread in each library: what runs here must not take the cores away from the models.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        with theirs:
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        if not self._control.recv(1):
            raise RuntimeError(f"The fork server of {self._module} did not start; its output is above.")
        self._is_started = True


def _receive_pidfd(connection: socket.socket) -> int:
    _, fds, _, _ = socket.recv_fds(connection, 1, 1)
    if not fds:
        raise EOFError
    return fds[0]


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended
    finally:
        os.close(pidfd)
