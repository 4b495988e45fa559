"""Fetches files over HTTP: an interrupted download is resumed, and a file gets its name after its checksum is verified.

huggingface_hub is not used: it does not compare a file's content with its checksum, and openai-whisper's files are not
on the hub. No token, cookie or `.netrc` entry is ever sent.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from deployments.model_loader import ReportProgress

T = TypeVar("T")

BACKOFF_S = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait between attempts. After an attempt that received bytes, the waits start again with the first."""
TIMEOUT_S = 30.0
"""Seconds. An attempt fails when the server sends nothing for this long."""
CHUNK_BYTES = 128 * 1024
"""Bytes are written to disk in chunks of this size; a broken connection loses at most one."""

ReportBytes = Callable[[str, int, int], None]
"""Takes a file's name, the number of its bytes that have arrived, and its size in bytes."""


class DownloadFailed(Exception):
    """The files could not be fetched; the message says why, in whole sentences."""


class _TemporaryFailure(Exception):
    """An attempt failed for a reason that may pass; the message completes "HOST could not deliver URL: ..."."""


@dataclass(frozen=True)
class RemoteFile:
    name: str
    """The name that it gets in the folder."""
    url: str
    origin: str
    """Where it comes from, for people to read: `vikhyatk/moondream2@<commit>`."""
    size: int
    checksum: str
    """`sha256:<hex>`, or `git:<hex>`, git's object id of the file, where the hub has no SHA-256."""


def fetch_files(files: Sequence[RemoteFile], folder: Path, report: ReportProgress, report_bytes: ReportBytes) -> None:
    """Fetch every file that is missing or damaged into `folder`, which exists.

    A file that fails its checksum is removed. An incomplete one is kept as `<name>.part`, and the next call resumes it.
    Raises DownloadFailed; if the disk is too small, before anything is fetched.
    """
    missing = [file for file in files if not is_complete(file, folder)]
    if not missing:
        return
    to_fetch = sum(max(file.size - _size_on_disk(_part_path(file, folder)), 0) for file in missing)
    free = free_bytes(folder)
    figures = f"{format_bytes(to_fetch)} into {folder}, where {format_bytes(free)} are free"
    if to_fetch > free:
        raise DownloadFailed(
            f"The disk is too small: {figures}. Make room, or set MODEL_CACHE_DIR to a folder on a larger disk."
        )
    names = ", ".join(f"{file.name} ({format_bytes(file.size)})" for file in missing)
    report(f"fetching {names}: {figures}")
    for file in missing:
        _download(file, folder, report, report_bytes)


def get_json(url: str) -> Any:
    """Return the decoded JSON of a URL; raises DownloadFailed."""

    def attempt() -> Any:
        with _response("GET", url, {}) as response:
            return response.json()

    return _retry(url, attempt)


def content_length(url: str) -> int:
    """Return the size of a remote file in bytes without fetching it; raises DownloadFailed."""

    def attempt() -> int:
        with _response("HEAD", url, {}) as response:
            if "Content-Length" not in response.headers:
                raise DownloadFailed(f"{_host(url)} sent no Content-Length for {url}.")
            return int(response.headers["Content-Length"])

    return _retry(url, attempt)


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Return `<algorithm>:<hex>` of a file's content; the algorithm is `sha256` or `git`."""
    with path.open("rb") as content:
        if algorithm == "sha256":
            digest = hashlib.file_digest(content, "sha256")
        else:  # git's object id is the SHA-1 of a header with the length, and the content
            blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            digest = hashlib.file_digest(content, lambda: blob)
    return f"{algorithm}:{digest.hexdigest()}"


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def format_bytes(num_bytes: int) -> str:
    """Return a size for people to read, such as "3.9 GB"; 1 GB is 10**9 bytes."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def is_complete(file: RemoteFile, folder: Path) -> bool:
    """Return whether a file is in `folder`; a damaged one is removed."""
    path = folder / file.name
    if not path.exists():
        return False
    if path.stat().st_size == file.size and has_checksum(path, file):
        return True
    path.unlink()
    return False


def has_checksum(path: Path, file: RemoteFile) -> bool:
    return checksum(path, file.checksum.partition(":")[0]) == file.checksum


def _part_path(file: RemoteFile, folder: Path) -> Path:
    return folder / f"{file.name}.part"


def _size_on_disk(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(file: RemoteFile, folder: Path, report: ReportProgress, report_bytes: ReportBytes) -> None:
    part = _part_path(file, folder)
    _retry(file.url, lambda: _resume(file, part, report_bytes), lambda: _size_on_disk(part))
    report(f"checking {file.name}")
    if not has_checksum(part, file):
        part.unlink()
        raise DownloadFailed(f"{file.name} arrived damaged (its checksum is wrong) and was removed.")
    os.replace(part, folder / file.name)


def _resume(file: RemoteFile, part: Path, report_bytes: ReportBytes) -> None:
    """Fetch the rest of the file into `part`, in one attempt.

    If the attempt fails, raises _TemporaryFailure and keeps what has arrived.
    """
    with part.open("ab") as out:
        done = out.tell()
        if done > file.size:
            done = out.truncate(0)
        report_bytes(file.name, done, file.size)
        if done < file.size:
            with _response("GET", file.url, {"Range": f"bytes={done}-"} if done else {}) as response:
                if done and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                    done = out.truncate(0)
                    if response.status_code != 200:
                        raise _TemporaryFailure("the server cannot resume the file")
                for chunk in response.iter_content(CHUNK_BYTES):
                    done += len(chunk)
                    if done > file.size:
                        raise DownloadFailed(f"{file.url} is larger than the {file.size} bytes it should have.")
                    out.write(chunk)
                    report_bytes(file.name, done, file.size)
        if done < file.size:
            raise _TemporaryFailure("the connection was lost")
        out.flush()
        os.fsync(out.fileno())


def _retry(url: str, attempt: Callable[[], T], position: Callable[[], int] = lambda: 0) -> T:
    """Return what `attempt` returns, trying again after each _TemporaryFailure.

    `position` returns how many bytes have arrived: an attempt that made progress resets the count of failures.
    """
    failures, reached = 0, position()
    while True:
        try:
            return attempt()
        except _TemporaryFailure as failure:
            if position() > reached:
                failures, reached = 0, position()
            if failures == len(BACKOFF_S):
                raise DownloadFailed(f"{_host(url)} could not deliver {url}: {failure}.") from failure
            time.sleep(BACKOFF_S[failures])
            failures += 1


@contextmanager
def _response(method: str, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    """Yield a response with status 2xx, or 416 (range not satisfiable), which is left to the caller.

    Raises _TemporaryFailure if another attempt may help, else DownloadFailed.
    """
    try:
        with requests.Session() as session:
            session.auth = _no_auth
            # identity: size and ranges of a compressed response are not those of the file
            headers = {"Accept-Encoding": "identity", **headers}
            with session.request(
                method, url, headers=headers, stream=True, timeout=TIMEOUT_S, allow_redirects=True
            ) as response:
                if response.status_code in (408, 429) or response.status_code >= 500:
                    raise _TemporaryFailure(f"it answered with status {response.status_code}")
                if response.status_code >= 400 and response.status_code != 416:
                    raise DownloadFailed(f"{_host(url)} answers {url} with status {response.status_code}.")
                yield response
    except requests.exceptions.SSLError as error:
        raise _TemporaryFailure(f"TLS failed ({error})") from error
    except requests.exceptions.JSONDecodeError as error:
        raise DownloadFailed(f"{url} does not answer in JSON: another server may be in its place.") from error
    except requests.Timeout as error:
        raise _TemporaryFailure(f"no answer within {TIMEOUT_S:g} s") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _TemporaryFailure("there is no connection, or it was lost") from error
    except requests.RequestException as error:
        raise DownloadFailed(f"{url} cannot be fetched: {error}.") from error


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Replaces the default of requests, which would look for a password in `.netrc`."""
    return request


def _host(url: str) -> str:
    return urlsplit(url).netloc
