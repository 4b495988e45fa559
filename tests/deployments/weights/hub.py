"""A model hub on this machine for tests: its API, its files, and the faults that a test sets."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["_Handler", bytes], None]
"""Answers a request in place of the hub; takes the content that the hub would have sent."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """Serves `files` by path, with ranges. Each request for a path consumes one of its `faults`, if there are any."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    content_types: dict[str, str] = field(default_factory=dict)
    """Of those files whose type matters."""
    url: str = ""

    def add_repository(self, name: str, revision: str, commit: str, files: dict[str, bytes]) -> None:
        """Add files; those of over 1000 bytes are listed like git-lfs files, with a SHA-256, others with git's id."""
        siblings = [_sibling(path, content) for path, content in files.items()]
        self.files[f"/api/models/{name}/revision/{revision}"] = json.dumps(
            {"sha": commit, "siblings": siblings}
        ).encode()
        for path, content in files.items():
            self.files[f"/{name}/resolve/{commit}/{path}"] = content

    def ranges(self, path: str) -> list[str | None]:
        """Return the Range header of every GET of a path, in order."""
        return [
            request.headers.get("Range")
            for request in self.requests
            if request.method == "GET" and request.path.endswith(path)
        ]


def breaks_off_after(num_bytes: int) -> Fault:
    def fault(handler: "_Handler", content: bytes) -> None:
        handler.send(200 if len(content) == handler.full_size else 206, content, upto=num_bytes)

    return fault


def answers(status: int, content: bytes = b"") -> Fault:
    return lambda handler, _: handler.send(status, content)


def flips_a_bit(handler: "_Handler", content: bytes) -> None:
    handler.send(200, bytes([content[0] ^ 1]) + content[1:])


def sends_nothing_for(seconds: float) -> Fault:
    def fault(handler: "_Handler", content: bytes) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return fault


def pauses_halfway(resumed: threading.Event) -> Fault:
    """Send the second half only when the event is set, or after half a minute."""

    def fault(handler: "_Handler", content: bytes) -> None:
        half = len(content) // 2
        handler.send(200, content, upto=half)
        resumed.wait(30)
        handler.wfile.write(content[half:])

    return fault


def sends_slowly(handler: "_Handler", content: bytes) -> None:
    handler.send(200, content, pause_s=0.05)


def ends_early_without_content_length(handler: "_Handler", content: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content[: len(content) // 2])
    handler.close_connection = True


def redirects_to(path: str) -> Fault:
    def fault(handler: "_Handler", content: bytes) -> None:
        handler.send_response(302)
        handler.send_header("Location", path)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def forgets_ranges(handler: "_Handler", content: bytes) -> None:
    handler.send(200, handler.hub.files[handler.path])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    full_size: int

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(Request(self.command, path, dict(self.headers)))
        content = self.hub.files.get(path)
        if content is None:
            return self.send(404, b"")
        self.full_size = len(content)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if faults := self.hub.faults.get(path):
            return faults.pop(0)(self, content[start:])
        self.send(206 if start else 200, content[start:])

    do_HEAD = do_GET

    def send(self, status: int, content: bytes, upto: int | None = None, pause_s: float = 0) -> None:
        """Send a response, but only the first `upto` bytes of its content, in pieces with pauses if `pause_s`."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if content_type := self.hub.content_types.get(self.path):
            self.send_header("Content-Type", content_type)
        if status == 206:
            start = self.full_size - len(content)
            self.send_header("Content-Range", f"bytes {start}-{self.full_size - 1}/{self.full_size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = content[:upto]
        pieces = range(0, len(sent), len(sent) // 20 + 1) if pause_s else [0]
        for begin in pieces:
            self.wfile.write(sent[begin : begin + len(sent) // 20 + 1] if pause_s else sent)
            time.sleep(pause_s)
        if len(sent) < len(content):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output quiet."""


class HubServer(ThreadingHTTPServer):
    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
        hub.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect: tests do so on purpose."""


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_oid}
    if len(content) > 1000:
        sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return sibling
