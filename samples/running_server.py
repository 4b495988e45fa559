"""A server for as long as it is needed: `serve run FILE`, ready, and gone with all its processes afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
import yaml

PROJECT_ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class RunningServer:
    url: str
    pid: int
    """The `serve run` process; all of Ray hangs below it."""
    log: Path
    temporary: Path
    """Its folder for temporary files."""


@contextmanager
def running_server(
    config: Path,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
    *,
    ready_path: str = "/readyz",
) -> Iterator[RunningServer]:
    """Run `serve run` on a copy of `config` at `port` (a free one if None) until the block ends.

    Yields when `ready_path` answers 200. Raises RuntimeError with the end of the log when the server does not come up.
    """
    # A short path: Ray makes sockets below it, and a socket's path may have about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    port = port or free_port()
    copy = folder / "serve.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["http_options"]["port"] = port
    copy.write_text(yaml.safe_dump(settings))
    log = folder / "serve.log"
    temporary = folder / "tmp"
    temporary.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(copy)],
            cwd=PROJECT_ROOT,
            env={
                **os.environ,
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_TMPDIR": str(folder / "ray"),
                "TMPDIR": str(temporary),
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url + ready_path, log)
        yield RunningServer(url, process.pid, log, temporary)
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
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
    raise RuntimeError(f"The server did not get ready. The end of its log:\n{log.read_text()[-4000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End `serve run` as Ctrl-C does, then whatever it has left behind."""
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
