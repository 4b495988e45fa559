"""Runs the server of `prism serve FILE` for the length of a `with` block, and ends its processes with the block."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
import yaml

from deployments.project import is_installed, project_folder
from prism.serve import server_command, server_environment
from serve_app.serve_yaml import read_serve_yaml

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
"""More than the server takes at most (prism/server.py)."""


class ServerDidNotStart(Exception):
    """The server did not become ready; the message has the end of its log."""


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready."""

    url: str
    pid: int
    """The process id of the server; all of Ray's processes are its descendants."""
    log: Path
    temporary_files: Path
    """The folder that its processes use for temporary files."""


@contextmanager
def running_server(
    config: Path,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
    *,
    ready_path: str = "/readyz",
    parent: Path = Path("/tmp"),
) -> Iterator[RunningServer]:
    """Run the server with a copy of `config` on `port` (a free one if None) until the block ends.

    All its files are in a folder of its own in `parent`, and are deleted with the block.
    Yields when `ready_path` answers 200. Raises ServerDidNotStart, or InvalidServeYaml for a file that cannot be read.
    """
    document = read_serve_yaml(config)
    # A short path: Ray makes sockets below it, and a socket's path may have about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="mm-", dir=parent))
    port = port or free_port()
    copy = folder / "serve.yaml"
    document.setdefault("http_options", {})["port"] = port
    copy.write_text(yaml.safe_dump(document))
    log = folder / "serve.log"
    temporary_files = folder / "tmp"
    temporary_files.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            server_command(copy),
            # The server imports the app from the current folder; an installed copy is importable from any.
            cwd=None if is_installed() else project_folder(),
            env={
                **server_environment(os.environ),
                "RAY_TMPDIR": str(folder / "ray"),
                "TMPDIR": str(temporary_files),
                "DATA_DIR": str(folder / "library"),
                "DATABASE_URL": "",  # the user's own library is none of the samples' business
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url + ready_path, log)
        yield RunningServer(url, process.pid, log, temporary_files)
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port of 127.0.0.1 that no program is using now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass  # not listening yet
        time.sleep(0.2)
    raise ServerDidNotStart(f"The server did not become ready. The end of its log:\n{log.read_text()[-4000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server as Ctrl-C does, then kill the descendants that are left."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(descendants, timeout=3)
    for leftover in alive:
        leftover.kill()
    psutil.wait_procs(alive, timeout=5)
