"""The fork server: `python -m deployments.sandbox.server CONTROL_FD MODULE`, started by client.py.

It imports MODULE, calls the module's `warm_up` if there is one, and then forks a child for every socket that arrives on
the control socket. It has one thread, so that forking is safe, and its memory is shared with the children until they
write to it.
"""

import ctypes
import importlib
import logging
import os
import resource
import signal
import socket
import sys
import time
import traceback
from types import ModuleType

from deployments.cancellation import Cancellation
from deployments.errors import ServiceError
from deployments.media import SeekableReader
from deployments.sandbox.messages import Done, Failed, Job, Progress, Read, Value, receive_job, send

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
_PROGRESS_PERIOD_S = 0.05


def serve(control: socket.socket, module: ModuleType) -> None:
    """Fork a child for each job until the control socket is closed."""
    # The kernel reaps the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.send(b"r")
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        if not fds:
            logging.error("A process for a file could not be started: too many open files")
            continue
        with socket.socket(fileno=fds[0]) as connection:
            parent = os.getpid()
            try:
                is_child = os.fork() == 0
            except OSError as error:
                # Too little memory, or too many processes. The replica sees that the connection is closed.
                logging.error("A process for a file could not be started: %s", error)
                continue
            if is_child:
                try:
                    control.close()
                    _run_child(connection, module, parent)
                finally:
                    os._exit(0)  # without what Python does at its end: that belongs to the parent


def _run_child(connection: socket.socket, module: ModuleType, parent: int) -> None:
    try:
        _end_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # The replica kills the child by this descriptor, which never means another process.
        pidfd = os.pidfd_open(os.getpid())
        socket.send_fds(connection, [b"p"], [pidfd])
        os.close(pidfd)
        job = receive_job(connection)
        _limit_resources(job.memory_bytes)
        _run_job(connection, module, job)
    except (EOFError, OSError):
        pass  # The replica is gone, or no longer interested.


def _run_job(connection: socket.socket, module: ModuleType, job: Job) -> None:
    try:
        values = getattr(module, job.function)(
            RemoteFile(connection, job.num_bytes), *job.arguments, _ReportingCancellation(connection, job.deadline)
        )
        for value in values:
            send(connection, Value(value))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        send(connection, Failed(_as_sendable(error), traceback.format_exc()))
    else:
        send(connection, Done())


def _as_sendable(error: Exception) -> Exception:
    """Return `error` as one of the classes that the replica loads."""
    if isinstance(error, ServiceError):
        return error
    return MemoryError() if isinstance(error, MemoryError) else RuntimeError(repr(error))


class RemoteFile(SeekableReader):
    """The file, read over the connection."""

    def __init__(self, connection: socket.socket, num_bytes: int) -> None:
        super().__init__(num_bytes)
        self._connection = connection

    def _read_at(self, start: int, target: memoryview) -> None:
        send(self._connection, Read(start, start + len(target)))
        while target.nbytes:
            num_received = self._connection.recv_into(target)
            if not num_received:
                raise EOFError
            target = target[num_received:]


class _ReportingCancellation(Cancellation):
    """Reports progress to the replica, which tells it to the client when the deadline passes."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__(deadline)
        self._connection = connection
        self._reported_s = 0.0

    def check(self, progress: str = "") -> None:
        now = time.monotonic()
        if progress and now - self._reported_s >= _PROGRESS_PERIOD_S:
            self._reported_s = now
            send(self._connection, Progress(progress))
        super().check(progress)


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _limit_resources(memory_bytes: int) -> None:
    """Let the process allocate so many bytes more than it has now; beyond that it gets MemoryError, or crashes.

    A crash leaves no core file, which would hold the user's file.
    """
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + memory_bytes, size + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    control_fd, module = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # Ctrl-C reaches the whole process group; the replica ends this process when its work is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    imported = importlib.import_module(module)
    getattr(imported, "warm_up", lambda: None)()
    serve(socket.socket(fileno=int(control_fd)), imported)


if __name__ == "__main__":
    main()
