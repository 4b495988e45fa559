"""A client of the library's routes."""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 600
MAX_BUSY_S = 600.0
"""How long a request is repeated while the server is busy."""
POLL_PERIOD_S = 0.5
FILES_PER_PAGE = 100


class Failure(Exception):
    """There is no answer; the message tells the user why."""


class NoConnection(Failure):
    """No server listens at the URL, or the connection was lost."""


class ApiError(Failure):
    """The API answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def add_url_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=DEFAULT_URL, help="the running server (default: %(default)s)")


class LibraryClient:
    """Calls the routes of one server. Every method raises Failure."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()

    def add(self, path: Path, shown_path: str) -> dict[str, Any]:
        """Put a file into the library; returns the answer of `/upload`."""
        try:
            content = path.read_bytes()  # `requests` would read it whole, too
        except OSError as error:
            raise Failure(f"{path} cannot be read: {error.strerror}.") from error
        # A file's name on the disk may have bytes that are not valid UTF-8; `shown_path` has none.
        name = shown_path.rpartition("/")[2] or "unnamed"
        return self._send("POST", "/upload", files={"file": (name, content)}, data={"path": shown_path})

    def find_checksum(self, checksum: str) -> dict[str, Any] | None:
        """Return the file with this content, if there is one."""
        files: list[dict[str, Any]] = self._send("GET", "/files", params={"checksum": checksum})["files"]
        return files[0] if files else None

    def files(self, **filters: str) -> Iterator[dict[str, Any]]:
        """Yield all files that match, newest first."""
        offset = 0
        while True:
            page = self._send("GET", "/files", params={**filters, "limit": FILES_PER_PAGE, "offset": offset})
            yield from page["files"]
            offset += FILES_PER_PAGE
            if offset >= page["total"]:
                return

    def file(self, file_id: int, *, with_content: bool = False) -> dict[str, Any]:
        return self._send("GET", f"/files/{file_id}", params={"include_content": str(with_content).lower()})

    def delete(self, file_id: int) -> None:
        self._send("DELETE", f"/files/{file_id}")

    def search(self, query: str, limit: int, file_types: list[str], *, answer: bool = True) -> dict[str, Any]:
        return self._send("POST", "/search", json=_search_body(query, limit, file_types, answer))

    def stream_search(
        self, query: str, limit: int, file_types: list[str], *, answer: bool = True
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the events of a search as they arrive, names and data: `results`, `token`, `citation`, `done`."""
        body = {**_search_body(query, limit, file_types, answer), "stream": True}
        with self._retry_while_busy(lambda: self._open("POST", "/search", json=body, stream=True)) as response:
            try:
                for name, data in _events(response):
                    if name == "error":
                        raise ApiError(str(data["error"]["code"]), str(data["error"]["message"]))
                    yield name, data
            except requests.RequestException as error:
                raise NoConnection(f"The connection to {self.url} was lost.") from error

    def check(self, action: str) -> dict[str, Any]:
        """Run `verify` or `rebuild`."""
        return self._send("POST", f"/library/{action}")

    def wait_until_indexed(self, file_id: int) -> dict[str, Any]:
        """Return a file once it is completed or failed."""
        while True:
            record = self.file(file_id)
            if record["status"] in ("completed", "failed"):
                return record
            time.sleep(POLL_PERIOD_S)

    def _send(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Return the body of a successful response; waits while the server is busy."""
        response = self._retry_while_busy(lambda: self._open(method, path, **arguments))
        body = _json_object(response)
        if body is None:
            raise self._not_this_api(response)
        return body

    def _retry_while_busy(self, send: Callable[[], requests.Response]) -> requests.Response:
        end = time.monotonic() + MAX_BUSY_S
        while True:
            try:
                return send()
            except _Busy as busy:
                if time.monotonic() > end:
                    raise
                time.sleep(busy.retry_after_s)

    def _open(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Return a successful response; raises Failure for others."""
        url = self.url + path
        try:
            response = self._session.request(method, url, timeout=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S), **arguments)
        except requests.ReadTimeout as error:
            raise Failure(f"{url} did not answer within {ANSWER_TIMEOUT_S} s.") from error
        except requests.ConnectionError as error:
            raise NoConnection(
                f"There is no connection to {url}, or it was lost. Start the server with `prism serve`."
            ) from error
        except requests.RequestException as error:
            raise Failure(str(error)) from error
        if response.ok:
            return response
        body = _json_object(response)
        if body is None:
            raise self._not_this_api(response)
        error_detail = body.get("error") or {}
        code, message = str(error_detail.get("code")), str(error_detail.get("message"))
        if code == "SERVER_BUSY":
            raise _Busy(code, message, float(response.headers.get("Retry-After", 5)))
        raise ApiError(code, message)

    @staticmethod
    def _not_this_api(response: requests.Response) -> Failure:
        return Failure(f"{response.url} answered {response.status_code} {response.reason}, which is not this API.")


class _Busy(ApiError):
    def __init__(self, code: str, message: str, retry_after_s: float) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


def _search_body(query: str, limit: int, file_types: list[str], answer: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"query": query, "limit": limit, "answer": answer}
    if file_types:
        body["filter_type"] = file_types
    return body


def _json_object(response: requests.Response) -> dict[str, Any] | None:
    """Return the JSON object in a response; None if there is something else."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _events(response: requests.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the server-sent events of a response, each with a name and one line of JSON."""
    name = ""
    for line in response.iter_lines():
        field, _, value = line.decode().partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def checksum_of(path: Path) -> str:
    """Return the SHA-256 of a file, as the library names its content; raises Failure."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}.") from error
