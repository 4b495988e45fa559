"""Talks to a running server: waits for its models, posts files, asks for its health."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

KINDS: Mapping[str, str] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"), "image"),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".avi"), "video"),
    **dict.fromkeys((".mp3", ".wav", ".m4a", ".flac", ".ogg"), "audio"),
}
"""The route that a file is posted to, by its ending."""

OPTIONS: Mapping[str, Mapping[str, str]] = {"image": {}, "video": {"include_audio": "true"}, "audio": {}}
"""What is asked beside the defaults."""

CONNECT_TIMEOUT_S = 5
HEALTH_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 600
"""The server keeps a deadline of its own, which may have been raised; this only ends the wait for one that hangs."""
POLL_PERIOD_S = 1


class Failure(Exception):
    """Why there is no answer, for a person to read."""


class NoConnection(Failure):
    """Nobody listens at the URL, or not for long enough."""


class ApiError(Failure):
    """One of the API's own errors."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Upload:
    name: str
    kind: str
    """`image`, `video` or `audio`."""
    content: bytes


@dataclass(frozen=True)
class Answer:
    body: dict[str, Any]
    """A success body of the API."""
    seconds: float
    """From the request's first byte to the answer's last."""


def read_upload(path: Path) -> Upload:
    """Raises Failure for a file that cannot be read or whose ending has no route."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise Failure(f"No route takes files that end in {path.suffix!r}, only these: {' '.join(KINDS)}")
    try:
        return Upload(path.name, kind, path.read_bytes())
    except OSError as error:
        raise Failure(f"The file cannot be read: {error.strerror}.") from error


def analyze(url: str, upload: Upload) -> Answer:
    """Post a file and return what the API says about it; raises Failure where that is an error."""
    route, kind = f"{url}/api/analyze/{upload.kind}", upload.kind
    start = time.monotonic()
    body = _send(
        "POST", route, timeout_s=ANSWER_TIMEOUT_S, files={kind: (upload.name, upload.content)}, data=OPTIONS[kind]
    )
    return Answer(body, time.monotonic() - start)


def health(url: str) -> dict[str, Any]:
    return _send("GET", f"{url}/api/health", timeout_s=HEALTH_TIMEOUT_S)


def wait_until_loaded(url: str, report: Callable[[str], None]) -> None:
    """Return when no model is loading any more; one that failed to load says so when a file is posted.

    `report` takes a line whenever the progress changes. Raises Failure where there is no such server.
    """
    told = ""
    while _is_loading(url):
        loading = [model for model in health(url)["models"] if model["state"] == "loading"]
        if not loading:  # failed, which waiting does not mend, or ready meanwhile
            return
        progress = "; ".join(f"{model['name']} is loading{_in_brackets(model['detail'])}" for model in loading)
        if progress != told:
            report(progress)
        told = progress
        time.sleep(POLL_PERIOD_S)


def _is_loading(url: str) -> bool:
    try:
        _send("GET", f"{url}/readyz", timeout_s=HEALTH_TIMEOUT_S)
    except ApiError as error:
        if error.code != "MODEL_NOT_LOADED":
            raise
        return True
    return False


def _send(method: str, url: str, *, timeout_s: float, **arguments: Any) -> dict[str, Any]:
    """Return the body of a success; raises Failure for everything else."""
    try:
        response = requests.request(method, url, timeout=(CONNECT_TIMEOUT_S, timeout_s), **arguments)
    except requests.ReadTimeout as error:
        raise Failure(f"{url} did not answer within {timeout_s:g} s.") from error
    except requests.ConnectionError as error:
        raise NoConnection(f"There is no connection to {url}, or it broke off.") from error
    except requests.RequestException as error:
        raise Failure(str(error)) from error
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    if isinstance(body, dict) and body.get("success") is True:
        return body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        raise ApiError(body["error"]["code"], body["error"]["message"])
    raise Failure(f"{url} answered {response.status_code} {response.reason}, which is not this API.")


def _in_brackets(detail: str) -> str:
    return f" ({detail})" if detail else ""
