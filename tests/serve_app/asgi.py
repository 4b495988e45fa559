"""An ASGI client that decides when each chunk of the body arrives, and whether it disconnects."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI


@dataclass
class Exchange:
    """One request, and its response.

    Each read gets one of `chunks`. After the last one the body is complete, or the client disconnects or stalls.
    """

    path: str
    headers: dict[str, str]
    chunks: Iterable[bytes] = ()
    is_complete: bool = True
    disconnects: bool = False
    leaves_after_s: float = 0.0
    """How long the client waits for an answer before it disconnects."""
    num_read: int = 0
    messages: list[Any] = field(default_factory=list)

    async def run(self, api: FastAPI) -> None:
        remaining = [*self.chunks, b""] if self.is_complete else list(self.chunks)

        async def receive() -> dict[str, Any]:
            if remaining:
                self.num_read += 1
                body = remaining.pop(0)
                return {"type": "http.request", "body": body, "more_body": bool(remaining) or not self.is_complete}
            if self.disconnects:
                await asyncio.sleep(self.leaves_after_s)
                return {"type": "http.disconnect"}
            await asyncio.sleep(3600)
            raise AssertionError("the app waited for an hour")

        async def send(message: Any) -> None:
            self.messages.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in self.headers.items()],
            "client": ("127.0.0.1", 5000),
            "server": ("127.0.0.1", 8000),
        }
        await api(scope, receive, send)

    async def has_read(self, num_chunks: int) -> None:
        """Return when that many chunks have been read and processed."""
        while self.num_read < num_chunks:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> Any:
        return json.loads(b"".join(message.get("body", b"") for message in self.messages[1:]))
