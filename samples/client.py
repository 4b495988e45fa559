"""A client of the HTTP API: waits until models are loaded, sends files, asks for the server's health."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from prism.library.client import ApiError, Failure, NoConnection
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import Kind

KINDS: Mapping[str, Kind] = {
    extension: modality.kind
    for modality in MODALITIES
    for file_format in modality.formats
    for extension in file_format.extensions
}
"""The kind of a file, which decides the route, by its extension."""

OPTIONS: Mapping[Kind, Mapping[str, str]] = {modality.kind: modality.sample_options for modality in MODALITIES}
"""Options that are sent with each kind."""

CONNECT_TIMEOUT_S = 5
HEALTH_TIMEOUT_S = 60
ANSWER_TIMEOUT_S = 600
"""Only for a server that hangs: a working one keeps its own deadline, which may have been raised."""
POLL_PERIOD_S = 1


@dataclass(frozen=True)
class Upload:
    name: str
    kind: Kind
    content: bytes


@dataclass(frozen=True)
class Answer:
    body: dict[str, Any]
    """The body of a successful response."""
    seconds: float
    """Time from the start of the request to the end of the response."""


def read_upload(path: Path) -> Upload:
    """Return a file's content and kind; raises Failure if it cannot be read or no route takes its extension."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise Failure(f"No route takes files that end in {path.suffix!r}, only these: {' '.join(KINDS)}.")
    try:
        return Upload(path.name, kind, path.read_bytes())
    except OSError as error:
        raise Failure(f"The file cannot be read: {error.strerror}.") from error


def analyze(url: str, upload: Upload) -> Answer:
    """Send a file and return the answer; raises Failure for an error."""
    route, kind = f"{url}/api/analyze/{upload.kind}", upload.kind
    start = time.monotonic()
    body = _send(
        "POST", route, timeout_s=ANSWER_TIMEOUT_S, files={kind: (upload.name, upload.content)}, data=OPTIONS[kind]
    )
    return Answer(body, time.monotonic() - start)


def health(url: str) -> dict[str, Any]:
    """Return the body of `/api/health`; raises Failure."""
    return _send("GET", f"{url}/api/health", timeout_s=HEALTH_TIMEOUT_S)


def wait_until_loaded(url: str, report: Callable[[str], None]) -> None:
    """Return when no model is loading any more; if one failed to load, the response to a file says why.

    `report` is called with a line whenever the progress changes. Raises Failure if there is no such server.
    """
    last_progress = ""
    while _is_loading(url):
        progress = loading_progress(health(url)["models"])
        if not progress:  # those that are not ready have failed
            return
        if progress != last_progress:
            report(progress)
        last_progress = progress
        time.sleep(POLL_PERIOD_S)


def loading_progress(models: Sequence[Mapping[str, Any]]) -> str:
    """Return how far the models are that are loading, of those in a health response; "" if none is."""
    loading = [model for model in models if model["state"] == "loading"]
    return "; ".join(f"{model['name']} is loading{_in_parentheses(model['detail'])}" for model in loading)


def _is_loading(url: str) -> bool:
    try:
        _send("GET", f"{url}/readyz", timeout_s=HEALTH_TIMEOUT_S)
    except ApiError as error:
        if error.code != "MODEL_NOT_LOADED":
            raise
        return True
    return False


def _send(method: str, url: str, *, timeout_s: float, **arguments: Any) -> dict[str, Any]:
    """Return the body of a successful response; raises Failure for anything else."""
    try:
        response = requests.request(method, url, timeout=(CONNECT_TIMEOUT_S, timeout_s), **arguments)
    except requests.ReadTimeout as error:
        raise Failure(f"{url} did not answer within {timeout_s:g} s.") from error
    except requests.ConnectionError as error:
        raise NoConnection(f"There is no connection to {url}, or it was lost.") from error
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


def _in_parentheses(detail: str) -> str:
    return f" ({detail})" if detail else ""
