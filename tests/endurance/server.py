"""The server under test: one that is started for it, or one that runs already."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests
import yaml

from deployments.project import MINIATURES_FILE, project_folder
from samples.running_server import running_server
from serve_app.port_conflict import launcher_of

_RAYS_AND_TORCHS = ("pymp-", "torchinductor_")
"""Beginnings of the names of their working folders among the temporary files."""

MINIATURES = {"moondream-mini", "whisper-mini"}


@dataclass(frozen=True)
class Server:
    """A server on the miniatures that answers at `url`."""

    url: str
    process: psutil.Process | None
    """The process whose descendants are all processes of the server; None if it is on another machine."""
    temporary_files: Path | None
    """The folder for temporary files, if nobody else uses it."""

    def processes(self) -> list[psutil.Process]:
        if self.process is None:
            return []
        return [self.process, *self.process.children(recursive=True)]

    def left_files(self) -> list[Path]:
        """Return the temporary files that are not Ray's or torch's: uploads, or parts of them."""
        if self.temporary_files is None:
            return []
        return [path for path in self.temporary_files.iterdir() if not path.name.startswith(_RAYS_AND_TORCHS)]


def add_server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="a running server of config/mini.yaml; by default, one is started")
    parser.add_argument("--port", type=int, help="the port of the server that is started; by default a free one")


@contextmanager
def server_under_test(
    url: str | None, port: int | None, args: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Server]:
    """Yield the server at `url`, or one of config/mini.yaml with `args` merged into its own."""
    if url is not None:
        yield Server(url.rstrip("/"), _process_at(url), None)
        return
    settings = yaml.safe_load((project_folder() / MINIATURES_FILE).read_text())
    merged = settings["applications"][0]["args"]
    for section, values in (args or {}).items():
        merged[section] = {**merged.get(section, {}), **values}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve.yaml"
        path.write_text(yaml.safe_dump(settings))
        with running_server(path, port=port) as running:
            yield Server(running.url, psutil.Process(running.pid), running.temporary_files)


def _process_at(url: str) -> psutil.Process | None:
    """Return the process of the server that listens on the URL's port on this machine."""
    port = urlsplit(url).port
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(connection.pid).parents():
                    if process.name() == "raylet":
                        return launcher_of(process)
    return None


def require_miniatures(server: Server) -> None:
    """Raise ValueError unless the server has the miniatures: other models give other answers."""
    names = {model["name"] for model in requests.get(f"{server.url}/api/health", timeout=10).json()["models"]}
    if not names >= MINIATURES:
        raise ValueError(
            f"{server.url} has the models {', '.join(sorted(names))}; this needs a server of {MINIATURES_FILE}"
        )
