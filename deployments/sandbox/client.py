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
from collections.abc import Generator
from pathlib import Path
from typing import Any

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile
from deployments.log import logger
from deployments.media import Media
from deployments.sandbox.messages import Done, Failed, Job, Progress, Read, Value, receive, send

_ROOT = Path(__file__).resolve().parent.parent.parent
_POLL_S = 0.02
"""How often a cancelled or late job is noticed while its process is silent."""


class Sandbox:
    """Calls functions of one module on untrusted files, each call in a process of its own. Thread-safe.

    The functions take a seekable, read-only file first and a Cancellation last, and yield values.
    """

    def __init__(self, module: str, memory_bytes: int, *, max_silence_s: float = math.inf) -> None:
        """Start the fork server, which imports `module`.

        A call may allocate `memory_bytes`, and must read, report progress or yield at least every `max_silence_s`.
        """
        self._module = module
        self._max_silence_s = max_silence_s
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._start()

    def run(
        self, function: str, media: Media, *arguments: Any, cancellation: Cancellation
    ) -> Generator[Any, None, None]:
        """Yield what `function(file, *arguments, cancellation)` yields.

        Raises the ServiceError that the function raises, InvalidFile if the file makes its decoder crash or run out of
        memory, and what `cancellation.check` raises. The process is gone when this ends.
        """
        connection = self._fork()
        pidfd = -1
        progress = ""
        try:
            pidfd = _receive_pidfd(connection)
            send(connection, Job(function, arguments, len(media), cancellation.deadline, self._memory_bytes))
            last_message_s = time.monotonic()
            while True:
                cancellation.check(progress)
                if not select.select([connection], [], [], _POLL_S)[0]:
                    if time.monotonic() - last_message_s > self._max_silence_s:
                        raise InvalidFile(
                            f"Decoding the file made no progress for {self._max_silence_s:g} seconds: it is damaged, "
                            "or made to exhaust the machine."
                        )
                    continue
                message = receive(connection)
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
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            logger.error("The process that ran %s.%s crashed on a file", self._module, function)
            raise InvalidFile(
                "The file makes its decoder crash: it is damaged. Save or convert it again and send that."
            ) from error
        finally:
            if pidfd >= 0:
                _kill(pidfd)
            connection.close()

    def close(self) -> None:
        """End the fork server and with it every running call."""
        self._control.close()
        self._server.kill()
        self._server.wait()

    def _failure(self, error: Exception, traceback: str) -> Exception:
        if isinstance(error, MemoryError):
            return InvalidFile(
                f"Decoding the file needs more than {self._memory_bytes // 2**20} MB of memory: it is damaged, or made "
                "to exhaust the machine."
            )
        if isinstance(error, RuntimeError):
            logger.error("A decoder failed:\n%s", traceback)
        return error

    def _fork(self) -> socket.socket:
        """Return the connection to a new process; a fork server that has died is started again."""
        for attempt in (1, 2):
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._control, [b"j"], [theirs.fileno()])
                    return ours
                except OSError:
                    ours.close()
                    if attempt == 2:
                        raise
                    with self._lock:
                        if self._server.poll() is not None:
                            logger.error("The fork server of %s died and is started again", self._module)
                            self._control.close()
                            self._start()
        raise AssertionError("unreachable")

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "deployments.sandbox.server", str(theirs.fileno()), self._module]
        # One thread in each library: what runs here must not take the cores away from the models.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        with theirs:
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        if not self._control.recv(1):
            raise RuntimeError(f"The fork server of {self._module} did not start; its output is above.")


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
