"""Sends requests as a client of the API would, and checks what every response must have."""

import base64
import re
from pathlib import Path
from typing import Any

import psutil
import requests

DATA = Path(__file__).resolve().parent.parent / "data"
ORIGIN = "http://localhost:3000"
"""A browser page's origin that the default settings allow."""


def post_file(url: str, kind: str, path: Path, **fields: Any) -> requests.Response:
    """Post a file as a form, as a page on another origin would."""
    with path.open("rb") as file:
        return requests.post(
            f"{url}/api/analyze/{kind}",
            files={kind: (path.name, file)},
            data={name: str(value) for name, value in fields.items()},
            headers={"Origin": ORIGIN},
            timeout=120,
        )


def post_json(url: str, kind: str, body: Any) -> requests.Response:
    return requests.post(f"{url}/api/analyze/{kind}", json=body, headers={"Origin": ORIGIN}, timeout=120)


def data_url(path: Path) -> str:
    return "data:;base64," + base64.b64encode(path.read_bytes()).decode()


def answer_of(response: requests.Response) -> dict[str, Any]:
    """Check what every successful response must have, and return its body."""
    assert response.status_code == 200, response.text
    body = _checked_body(response)
    assert body["success"] is True
    return body


def error_of(response: requests.Response, status: int) -> dict[str, str]:
    """Check what every error response must have, and return its `error`."""
    assert response.status_code == status, response.text
    body = _checked_body(response)
    assert set(body) == {"success", "error", "timestamp"}
    assert body["success"] is False
    assert set(body["error"]) == {"code", "message"}
    error: dict[str, str] = body["error"]
    return error


def _checked_body(response: requests.Response) -> dict[str, Any]:
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert re.search("X-Request-ID", response.headers["Access-Control-Expose-Headers"], re.IGNORECASE)
    assert response.headers["X-Request-ID"]
    body: dict[str, Any] = response.json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["timestamp"])
    return body


def replica_of(server_pid: int, deployment: str) -> psutil.Process:
    """Return the process of a deployment's replica."""
    return process_of(server_pid, "ServeReplica", f":{deployment}")


def process_of(server_pid: int, *words: str) -> psutil.Process:
    """Return the process of the server whose title has all of the words."""
    [process] = processes_of(server_pid, *words)
    return process


def processes_of(server_pid: int, *words: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(server_pid).children(recursive=True)
        if all(word in title_of(process) for word in words)
    ]


def decoders_of(server_pid: int, deployment: str) -> list[psutil.Process]:
    """Return the processes in which a deployment decodes files, the one that forks the others first."""
    return [
        process
        for process in replica_of(server_pid, deployment).children(recursive=True)
        if "deployments.sandbox.server" in command_of(process)
    ]


def title_of(process: psutil.Process) -> str:
    """Return what Ray calls one of its workers; empty if it has ended."""
    return "".join(command_of(process)[:1])


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process; empty if it has ended."""
    try:
        command: list[str] = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return command
