"""A client that checks what every answer must have, obeys Retry-After, and can leave in the middle of a request."""

import contextlib
import http.client
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ValidationError

from serve_app.error_handlers import STATUSES
from serve_app.schemas import ErrorBody

ORIGIN = "http://localhost:3000"
"""A browser page's origin that the default settings allow."""
TIMEOUT_S = 100.0
"""More than the server's own deadline."""
MAX_WAIT_S = 300.0
"""How long a client goes on with a request that is answered SERVER_BUSY."""
KEEP_ALIVE_S = 2.0
"""A connection that was idle for longer is not used again: the server closes it after 5 s."""

_STATUS_OF_CODE: Mapping[str, int] = {error.code: status for error, status in STATUSES.items()}
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class WrongAnswer(Exception):
    """The server answered something undocumented or wrong; the message says what."""


@dataclass(frozen=True)
class Answer:
    status: int
    code: str
    """Of an error; else empty."""
    body: Any
    """The JSON; None for an answer without a body."""


Note = Callable[[str, float], None]
"""Called with the outcome of each request, such as "200" or "503 SERVER_BUSY", and its seconds."""


class Client:
    """One client of the server at `url`. Use it in one thread."""

    def __init__(self, url: str, note: Note, rng: random.Random) -> None:
        self.url = url
        self._note = note
        self._rng = rng
        self._session = requests.Session()
        self._used_at = 0.0

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, is_json: bool = True, **body: Any
    ) -> Answer:
        """Return the checked answer; SERVER_BUSY is tried again when the server says so. Raises WrongAnswer.

        `body` has arguments of `requests.request`; `data` may be a function that returns the chunks of a body.
        """
        headers = dict(headers or {})
        if "Origin" not in headers and self._rng.random() < 0.5:
            headers["Origin"] = ORIGIN
        if self._rng.random() < 0.5:
            headers["X-Request-ID"] = self._rng.randbytes(8).hex()
        end = time.monotonic() + MAX_WAIT_S
        while True:
            response = self._send_once(method, path, headers, body)
            answer = _checked(response, headers.get("Origin"), is_json=is_json and method != "HEAD")
            request_id = headers.get("X-Request-ID", response.headers["X-Request-ID"])
            if response.headers["X-Request-ID"] != request_id:
                raise WrongAnswer(f"{method} {path} has another request's id: {response.headers['X-Request-ID']}")
            if answer.code != "SERVER_BUSY":
                return answer
            if time.monotonic() > end:
                raise WrongAnswer(f"{method} {path} was answered SERVER_BUSY for {MAX_WAIT_S:g} s")
            time.sleep(int(response.headers["Retry-After"]))

    def expect(self, expected: str, method: str, path: str, **arguments: Any) -> Answer:
        """Return the answer to `send`; raises WrongAnswer unless its status and code are `expected`."""
        answer = self.send(method, path, **arguments)
        if _outcome(answer.status, answer.code) != expected:
            raise WrongAnswer(
                f"{method} {path} was answered {_outcome(answer.status, answer.code)}, not {expected}: {answer.body}"
            )
        return answer

    def expect_body(self, schema: type[BaseModel], path: str, **arguments: Any) -> dict[str, Any]:
        """Return the body of the success that a POST must get; raises WrongAnswer if it does not have the schema."""
        body: dict[str, Any] = self.expect("200", "POST", path, **arguments).body
        try:
            schema.model_validate(body)
        except ValidationError as error:
            raise WrongAnswer(f"{path} answered a body of another schema: {error}") from error
        return body

    def close(self) -> None:
        self._session.close()

    def leave_in_upload(self, path: str, **body: Any) -> None:
        """Send a part of a request, then close the connection."""
        head, content = self._encoded(path, body)
        with self._connect() as connection:
            with contextlib.suppress(OSError):  # the server may have refused it and closed first
                connection.sendall(head + content[: self._rng.randrange(len(content))])
                time.sleep(self._rng.uniform(0, 0.1))
            self._close(connection)
        self._note("left", 0.0)

    def leave_before_answer(self, path: str, **body: Any) -> None:
        """Send a request, then close the connection while the server works on it."""
        head, content = self._encoded(path, body)
        with self._connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(head + content)
                time.sleep(self._rng.uniform(0, 0.3))
            self._close(connection)
        self._note("left", 0.0)

    def leave_in_answer(self, path: str) -> None:
        """Close the connection after the first bytes of a long answer."""
        with self._connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            with contextlib.suppress(OSError):
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
                if connection.recv(20)[:9] != b"HTTP/1.1 ":
                    raise WrongAnswer(f"GET {path} is not answered in HTTP")
            self._close(connection)
        self._note("left", 0.0)

    def send_head(self, path: str, *, content_type: str, num_bytes: int) -> Answer:
        """Return the answer to the head of a request whose body never comes. Raises WrongAnswer."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {num_bytes}\r\n\r\n"
        )
        started = time.perf_counter()
        with self._connect() as connection:
            connection.sendall(head.encode())
            response = _read_response(connection)
        self._note(_outcome_of(response), time.perf_counter() - started)
        return _checked(response, None, is_json=True)

    def _send_once(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> requests.Response:
        if time.monotonic() - self._used_at > KEEP_ALIVE_S:
            self._session.close()
        started = time.perf_counter()
        if callable(body.get("data")):
            body = {**body, "data": body["data"]()}
        try:
            response = self._session.request(method, self.url + path, headers=headers, timeout=TIMEOUT_S, **body)
        except requests.RequestException as error:
            self._note(type(error).__name__, time.perf_counter() - started)
            raise WrongAnswer(f"{method} {path} was not answered: {error!r}") from error
        finally:
            self._used_at = time.monotonic()
        self._note(_outcome_of(response), time.perf_counter() - started)
        return response

    def _encoded(self, path: str, body: Mapping[str, Any]) -> tuple[bytes, bytes]:
        request = requests.Request("POST", self.url + path, **body).prepare()
        content = request.body or b""
        content = content.encode() if isinstance(content, str) else bytes(content)
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), content

    def _connect(self) -> socket.socket:
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=TIMEOUT_S)

    def _close(self, connection: socket.socket) -> None:
        """Close the connection as a browser does, or in every other case as a client that crashes: with RST."""
        if self._rng.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    @property
    def _host(self) -> str:
        return urlsplit(self.url).netloc


def _read_response(connection: socket.socket) -> requests.Response:
    """Return the one response that arrives on the connection."""
    raw = http.client.HTTPResponse(connection)
    raw.begin()
    response = requests.Response()
    response.status_code = raw.status
    response.headers.update(raw.headers)
    response._content = raw.read()
    return response


def _outcome(status: int, code: str) -> str:
    return f"{status} {code}" if code else str(status)


def _outcome_of(response: requests.Response) -> str:
    code = ""
    if response.status_code >= 400:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            code = response.json()["error"]["code"]
    return _outcome(response.status_code, code)


def _checked(response: requests.Response, origin: str | None, *, is_json: bool) -> Answer:
    """Return the answer if it has what every answer must have; raises WrongAnswer."""
    status, headers = response.status_code, response.headers
    where = f"The answer {status} {response.text[:300]!r}"
    if not headers.get("X-Request-ID"):
        raise WrongAnswer(f"{where} has no X-Request-ID")
    if origin == ORIGIN and headers.get("Access-Control-Allow-Origin") != ORIGIN:
        raise WrongAnswer(f"{where} cannot be read by a page of {ORIGIN}")
    if status < 400 and not is_json:
        return Answer(status, "", None)
    if headers.get("Content-Type") != "application/json":
        raise WrongAnswer(f"{where} is not JSON but {headers.get('Content-Type')}")
    try:
        body = response.json()
    except ValueError as error:
        raise WrongAnswer(f"{where} is not JSON") from error
    if status < 400:
        return Answer(status, "", body)
    try:
        ErrorBody.model_validate(body)
    except ValidationError as error:
        raise WrongAnswer(f"{where} is not an error of this API") from error
    code = body["error"]["code"]
    if _STATUS_OF_CODE.get(code) != status:
        raise WrongAnswer(f"{where} has a status that does not belong to its code")
    if not body["error"]["message"] or not _TIMESTAMP.fullmatch(body["timestamp"]):
        raise WrongAnswer(f"{where} has no message, or no timestamp")
    if code in ("SERVER_BUSY", "MODEL_NOT_LOADED", "RATE_LIMITED") and not headers.get("Retry-After", "").isdecimal():
        raise WrongAnswer(f"{where} has no Retry-After")
    return Answer(status, code, body)
