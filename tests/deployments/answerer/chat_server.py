"""A server on this machine with the chat API of OpenAI, whose replies and pace a test sets."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS_PER_CHARACTER = 0.25


@dataclass
class ChatServer:
    """Says `pieces` to every streamed request, with a pause before each; fails with `status` if it is not 200."""

    pieces: list[str] = field(default_factory=lambda: ["Good", " day."])
    pause_s: float = 0.0
    status: int = 200
    error: str = "It is broken."
    breaks_off: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of the streamed requests."""
    num_left: int = 0
    """Clients that left before the end of a reply."""
    url: str = ""

    def __enter__(self) -> "ChatServer":
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"chat": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect: tests do so on purpose."""


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer

    def do_GET(self) -> None:
        self._send_json(200, {"data": [{"id": "first"}, {"id": "second"}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.chat.status != 200:
            return self._send_json(self.chat.status, {"error": {"message": self.chat.error}})
        if not body["stream"]:
            characters = sum(len(message["content"]) for message in body["messages"])
            return self._send_json(200, {"usage": {"prompt_tokens": round(characters * TOKENS_PER_CHARACTER)}})
        self.chat.requests.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for piece in self.chat.pieces:
                time.sleep(self.chat.pause_s)
                self._send_event(json.dumps({"choices": [{"delta": {"content": piece}}]}))
            if not self.chat.breaks_off:
                self._send_event("[DONE]")
        except (BrokenPipeError, ConnectionResetError):
            self.chat.num_left += 1

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output quiet."""

    def _send_event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def _send_json(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
