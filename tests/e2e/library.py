"""A client of the library's routes, as a program on this machine would be one."""

import json
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TIMEOUT_S = 120.0
ENDED = ("completed", "failed")


class LibraryClient:
    def __init__(self, url: str) -> None:
        self.url = url

    def post_upload(self, name: str, content: bytes, **headers: str) -> requests.Response:
        return requests.post(f"{self.url}/upload", files={"file": (name, content)}, headers=headers, timeout=TIMEOUT_S)

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        return _body(self.post_upload(name, content))

    def add(self, name: str, content: bytes) -> int:
        """Upload a file that is not there yet and return its id."""
        body = self.upload(name, content)
        assert not body["duplicate"]
        file_id: int = body["file_id"]
        return file_id

    def get(self, path: str, **params: Any) -> requests.Response:
        return requests.get(self.url + path, params=params, timeout=TIMEOUT_S)

    def post(self, path: str) -> requests.Response:
        return requests.post(self.url + path, timeout=TIMEOUT_S)

    def delete(self, file_id: int) -> requests.Response:
        return requests.delete(f"{self.url}/files/{file_id}", timeout=TIMEOUT_S)

    def file(self, file_id: int, **params: Any) -> dict[str, Any]:
        return _body(self.get(f"/files/{file_id}", **params))

    def text_of(self, file_id: int) -> str:
        return " ".join(chunk["text"] for chunk in self.file(file_id, include_content="true")["content"])

    def until(self, file_id: int, statuses: Collection[str], *, fraction: float = 0.0) -> dict[str, Any]:
        """Return a file once it has one of the statuses, and at least this much of it is done."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            file = self.file(file_id)
            if file["status"] in statuses and file["progress"]["fraction"] >= fraction:
                return file
            assert file["status"] not in ENDED, file
            assert time.monotonic() < end, file
            time.sleep(0.1)

    def until_completed(self, file_id: int) -> dict[str, Any]:
        file = self.until(file_id, ENDED)
        assert file["status"] == "completed", file
        return file

    def post_search(self, query: str, **fields: Any) -> requests.Response:
        return requests.post(f"{self.url}/search", json={"query": query, **fields}, timeout=TIMEOUT_S)

    @contextmanager
    def stream_search(self, query: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """Yield the events of a streamed search as they arrive, names and data; the client leaves with the block."""
        body = {"query": query, "stream": True}
        with requests.post(f"{self.url}/search", json=body, stream=True, timeout=TIMEOUT_S) as response:
            assert response.status_code == 200, response.text
            yield _events(response)

    def search(self, query: str, **fields: Any) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = _body(self.post_search(query, **fields))["results"]
        return results

    def best(self, query: str, **fields: Any) -> dict[str, Any]:
        """Return the best result of a search."""
        return self.search(query, **fields)[0]

    def problems(self) -> list[str]:
        problems: list[str] = _body(self.post("/library/verify"))["problems"]
        return problems

    def all_files(self) -> list[dict[str, Any]]:
        files: list[dict[str, Any]] = _body(self.get("/files", limit=100))["files"]
        return files

    def events(self, since: int, last: int) -> list[dict[str, Any]]:
        """Return the server-sent events after number `since` up to number `last`."""
        found: list[dict[str, Any]] = []
        url = f"{self.url}/events"
        with requests.get(url, headers={"Last-Event-ID": str(since)}, stream=True, timeout=TIMEOUT_S) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            for line in response.iter_lines(decode_unicode=True):
                if line.startswith("data: "):
                    found.append(json.loads(line.removeprefix("data: ")))
                    if found[-1]["seq"] >= last:
                        return found
        raise AssertionError("the stream of events ended")

    def replay(self, since: int, last: int) -> list[dict[str, Any]]:
        """Return the events of the WebSocket after number `since` up to number `last`."""
        found: list[dict[str, Any]] = []
        with connect(f"{self._ws}?since={since}") as socket:
            while not found or found[-1]["seq"] < last:
                found.append(json.loads(socket.recv(TIMEOUT_S)))
        return found

    @contextmanager
    def followed(self) -> Iterator[list[dict[str, Any]]]:
        """Collect what the WebSocket sends while the block runs."""
        found: list[dict[str, Any]] = []

        def collect() -> None:
            try:
                while True:
                    found.append(json.loads(socket.recv()))
            except ConnectionClosed:
                return

        with connect(self._ws) as socket:
            collector = threading.Thread(target=collect)
            collector.start()
            try:
                yield found
            finally:
                socket.close()
                collector.join()

    @property
    def _ws(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"


def _events(response: requests.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response.iter_lines(decode_unicode=True):
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def _body(response: requests.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body
