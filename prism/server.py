"""The process that `prism serve` becomes: `serve run` with a port of its own and an orderly end.

`serve run` by itself shares its port with any other server of the same user, and ends its HTTP proxy before anything
else, so that whoever waits for an answer loses the connection. SIGTERM it does not handle at all. This process reserves
the port. At SIGINT or SIGTERM it lets the ingress finish or refuse what is in progress, then ends Serve and Ray, and
kills what is left. A second signal skips the waiting.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import click
import psutil
import ray
from ray import serve
from ray.serve.schema import ServeDeploySchema
from ray.serve.scripts import cli

from serve_app.serve_yaml import read_serve_yaml
from serve_app.stopping import ANSWER_S, GRACE_S

STOP_TIMEOUT_S = 20.0
"""After the first signal, seconds until whatever still runs is killed."""
SERVE_NAMESPACE = "serve"


class PortInUse(Exception):
    """Another program has the port."""


def reserve_port(host: str, port: int) -> socket.socket:
    """Return a socket that keeps every other program off `host:port` but those of the same user with SO_REUSEPORT.

    Serve's proxy is one of those. The socket does not listen, so it takes no connection. Raises PortInUse.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reservation = socket.socket(family, socket.SOCK_STREAM)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reservation.bind((host, port))
    except OSError as error:
        reservation.close()
        raise PortInUse(
            f"{host}:{port} cannot be used ({error.strerror}); stop the other server, or change http_options.port"
        ) from error
    # Only after binding: with SO_REUSEPORT from the start, a second reservation would succeed. And with SO_REUSEADDR, a
    # program that is not listening yet could still bind the port.
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reservation


class Server:
    """Runs `serve run` in this process until a signal ends it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._is_stopping = False
        self._processes: list[psutil.Process] = []

    def run(self) -> int:
        """Return the exit status: 0 if a signal ended the server."""
        try:
            ray.init(namespace=SERVE_NAMESPACE)
            # After ray.init, which sets a handler of its own for SIGTERM: it kills everything at once.
            signal.signal(signal.SIGINT, self._stop)
            signal.signal(signal.SIGTERM, self._stop)
            cli.main(["run", str(self._file)], standalone_mode=False)
        except (KeyboardInterrupt, SystemExit, click.Abort):
            pass
        finally:
            self._end_processes()
        return 0 if self._is_stopping else 1

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._is_stopping:
            raise KeyboardInterrupt
        self._is_stopping = True
        _say(f"Stopping. Requests in progress have {GRACE_S:g} s to finish; press Ctrl-C again to skip that.")
        self._processes = psutil.Process().children(recursive=True)
        watchdog = threading.Timer(STOP_TIMEOUT_S, self._kill)
        watchdog.daemon = True
        watchdog.start()
        # In a thread, because the main thread may be in the middle of a call to Ray.
        finishing = threading.Thread(target=_finish_requests, name="finish requests", daemon=True)
        finishing.start()
        finishing.join(GRACE_S + ANSWER_S + 1)
        raise KeyboardInterrupt  # `serve run` handles it: it ends Serve

    def _end_processes(self) -> None:
        """End Ray, and kill what is left of it: its agents outlive it by seconds, and replicas may have children."""
        self._processes += psutil.Process().children(recursive=True)
        try:
            ray.shutdown()
        finally:
            # From here on it takes a few seconds at most, and an interrupted end would leave processes behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _, alive = psutil.wait_procs(self._processes, timeout=1)
            _kill_all(alive)

    def _kill(self) -> None:
        _say(f"Not everything ended within {STOP_TIMEOUT_S:g} s; killing it.")
        _kill_all([*self._processes, *psutil.Process().children(recursive=True)])
        os._exit(1)


def _finish_requests() -> None:
    """Let the ingress of each app finish or refuse its requests; return when it has."""
    try:
        for name, app in serve.status().applications.items():
            if app.status == "RUNNING":
                serve.get_app_handle(name).stop_serving.remote().result(timeout_s=GRACE_S + ANSWER_S)
    except Exception as error:
        _say(f"Requests in progress are dropped: {error!r}")


def _kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(processes, timeout=3)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Run the server with the Serve YAML that is the only argument; return the exit status."""
    [path] = arguments
    http = ServeDeploySchema.model_validate(read_serve_yaml(Path(path))).http_options
    try:
        # Kept until the process ends. Other systems do not let Serve bind a port that another socket has.
        reservation = reserve_port(http.host, http.port) if sys.platform == "linux" else None
    except PortInUse as error:
        _say(str(error))
        return 1
    status = Server(Path(path)).run()
    if reservation is not None:
        reservation.close()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
