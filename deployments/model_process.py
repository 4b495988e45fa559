"""Runs a model in a child process, whose end gives all the model's memory back to the system.

Libraries such as onnxruntime keep memory for as long as their process lives. `ModelProcess` is the replica's side. It
starts `python -m deployments.model_process FD MODULE NICENESS`, which imports MODULE and calls its
`load(settings, report)`. That returns two things: the model, which is a function of the arguments of a call and a
Cancellation, and facts about it. The process answers one call at a time. Both sides exchange the sandbox's messages,
which are checked when they arrive, because the model's input may come from a hostile file.
"""

import importlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import ModelNotLoaded, ProcessingFailed, ServiceError
from deployments.log import logger
from deployments.model_loader import ReportProgress
from deployments.sandbox.messages import Done, Failed, InvalidMessage, Progress, Value, receive, send
from deployments.worker_threads import set_niceness

_ROOT = Path(__file__).resolve().parent.parent
_POLL_S = 0.02
"""How often a cancelled call is noticed."""
_MAX_ARRAY_BYTES = 2**30
"""Of the arrays in one message."""
_CANCEL = Done()
"""The replica sends it when the caller of a running call is gone."""
_CANCELLED = "cancelled"
"""The text of the error with which the process answers a call that it has stopped after `_CANCEL`."""


class ModelProcess:
    """The replica's side. Loading is over when the constructor returns; calls are made one after the other."""

    def __init__(self, module: str, settings: Mapping[str, Any], report: ReportProgress, *, niceness: int = 0) -> None:
        """Start the process; `settings` are plain values.

        Raises the ServiceError that `load` raises, or ModelNotLoaded if the process ends.
        """
        self._module = module
        self._lock = threading.Lock()
        self._connection, theirs = socket.socketpair()
        command = [sys.executable, "-m", "deployments.model_process", str(theirs.fileno()), module, str(niceness)]
        # The model has threads of its own: numpy and OpenCV must not start further ones.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        self.close = weakref.finalize(self, _end, self._process, self._connection)
        """Ends the process and a call that is running. Called by itself when this object is garbage-collected."""
        try:
            send(self._connection, Value(dict(settings)))
            self.facts: Any = self._receive(report, lambda: None)
            """What `load` says about the model."""
        except BaseException as error:
            self.close()
            if isinstance(error, ProcessingFailed):
                raise ModelNotLoaded(f"The process of {module} ended while it loaded the model.") from error
            raise

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, *arguments: Any, cancellation: Cancellation) -> Any:
        """Return what the model returns; raises its ServiceErrors and MemoryError, RuntimeError for any other error,
        WorkCancelled, and ProcessingFailed if the process ends.

        A call that is cancelled or late ends at the next `cancellation.check` of the model.
        """
        with self._lock:
            cancellation.check("it was still waiting for its turn")
            is_passed_on = False

            def pass_on_cancellation() -> None:
                nonlocal is_passed_on
                if not is_passed_on and cancellation.is_cancelled:
                    is_passed_on = True
                    send(self._connection, _CANCEL)

            try:
                send(self._connection, Value((arguments, cancellation.deadline)))
            except OSError as error:
                raise self._ended() from error
            return self._receive(lambda _: None, pass_on_cancellation)

    def _receive(self, report: ReportProgress, while_waiting: Callable[[], None]) -> Any:
        """Return the next value; calls `while_waiting` every `_POLL_S` until then."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)

        def wait_for_data() -> None:
            while not poll.poll(_POLL_S * 1000):
                while_waiting()

        while True:
            try:
                message = receive(self._connection, _MAX_ARRAY_BYTES, wait_for_data)
            except (EOFError, OSError, InvalidMessage) as error:
                raise self._ended() from error
            if isinstance(message, Progress):
                report(message.text)
            elif isinstance(message, Value):
                return message.value
            elif isinstance(message, Failed):
                raise self._failure(message)

    def _failure(self, message: Failed) -> Exception:
        if isinstance(message.error, RuntimeError):
            if str(message.error) == _CANCELLED:
                return WorkCancelled()
            logger.error("The process of %s failed:\n%s", self._module, message.traceback)
        return message.error

    def _ended(self) -> ProcessingFailed:
        self._process.kill()
        logger.error("The process of %s ended with status %s", self._module, self._process.wait())
        return ProcessingFailed("The process with the model ended; try again, which starts it anew.")


def _end(process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
    process.kill()
    process.wait()
    connection.close()


class _RemoteCancellation(Cancellation):
    """Is cancelled by the replica's message."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__(deadline)
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def check(self, progress: str = "") -> None:
        if self._poll.poll(0):
            receive(self._connection, 0)  # `_CANCEL`: nothing else is sent during a call
            self.cancel()
        super().check(progress)


def _serve(connection: socket.socket, module: str) -> None:
    """Load the model and answer calls; raises EOFError when the replica is gone."""
    try:
        model, facts = importlib.import_module(module).load(
            _receive_value(connection), lambda line: send(connection, Progress(line))
        )
    except Exception as error:
        send(connection, _failed(error))
        return
    send(connection, Value(facts))
    while True:
        arguments, deadline = _receive_value(connection)
        cancellation = _RemoteCancellation(connection, deadline)
        try:
            send(connection, Value(model(*arguments, cancellation)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            send(connection, _failed(error))


def _receive_value(connection: socket.socket) -> Any:
    while True:
        message = receive(connection, _MAX_ARRAY_BYTES)
        if isinstance(message, Value):  # not a `_CANCEL` that arrived after the end of its call
            return message.value


def _failed(error: Exception) -> Failed:
    if isinstance(error, WorkCancelled):
        return Failed(RuntimeError(_CANCELLED), "")
    sendable = error if isinstance(error, ServiceError | MemoryError) else RuntimeError(repr(error))
    return Failed(sendable, traceback.format_exc())


def main() -> None:
    fd, module, niceness = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # Ctrl-C reaches the whole process group; the replica ends this process when its work is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_niceness(int(niceness))
    with socket.socket(fileno=int(fd)) as connection:
        try:
            _serve(connection, module)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the replica is gone


if __name__ == "__main__":
    main()
