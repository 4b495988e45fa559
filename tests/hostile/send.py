"""Sends the corpus to a server, beside a client that must always be served.

For each item it checks the status and the code, that the answer comes within the request's deadline, the memory of all
processes of the server, that the healthy client was served correctly meanwhile, and that no process died.
"""

import http.client
import io
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests

from deployments.units import MEGABYTE
from serve_app.error_handlers import STATUSES
from tests.e2e.client import DATA, ORIGIN
from tests.hostile.item import CANARY_PORT, OK, Item, RawRequest

MAX_MEMORY_MB = 2560.0
"""How much more memory than before all processes of a server may take together while an item is worked on: what the
decoder of a video may allocate (deployments/frame_sampler/deployment.py), and 512 MB for the file, its sound as a
waveform and the healthy client."""
MAX_KEPT_MB = 600.0
"""How much of it may be kept after all items: the captioner's cache of images (captioner.image_cache_mb, 300), which
the healthy client's pictures fill, and as much again in allocators and libraries."""
EXTRA_S = 5.0
"""After its deadline, a request may take this long to be answered; later, health names the work that goes on."""
INDEXING_S = 600.0
"""A document may take so long to be indexed; nobody waits for it."""
PERIOD_S = 1.0
"""Of the healthy client's requests."""

_STATUS_BY_CODE = {OK: 200, **{error.code: status for error, status in STATUSES.items()}}


@dataclass
class Result:
    """How one item was answered."""

    item: Item
    num_bytes: int
    outcome: str
    """A code, OK, or what was received instead of them."""
    seconds: float
    peak_mb: float
    """Memory of the server beyond what it had before all items."""
    faults: list[str] = field(default_factory=list)


@dataclass
class Summary:
    """What the whole run has shown."""

    results: list[Result]
    faults: list[str]
    """Those that belong to no single item."""
    idle_mb: float
    end_mb: float
    latencies_s: list[float]
    """Of the healthy client."""

    @property
    def all_faults(self) -> list[str]:
        return [f"{result.item.name}: {fault}" for result in self.results for fault in result.faults] + self.faults


def send_all(
    url: str, items: Iterable[Item], deadline_s: float, server_pid: int | None, report: Callable[[Result], None]
) -> Summary:
    """Send each item to the server and call `report` with its result.

    `deadline_s` is the server's REQUEST_TIMEOUT_SECONDS. Its memory is that of the process `server_pid` and its
    descendants, or what health says if that is None.
    """

    def memory_mb() -> float:
        return _reported_mb(url) if server_pid is None else _used_mb(server_pid)

    results: list[Result] = []
    with _canary() as hits, _HealthyClient(url) as healthy:
        healthy.wait_for(3)
        idle_mb = memory_mb()
        with _MemoryWatch(memory_mb) as memory:
            for item in items:
                content = item.make()
                memory.reset()
                num_failed = len(healthy.failures)
                started = time.monotonic()
                outcome, problem = _send(url, item, content, deadline_s)
                elapsed_s = time.monotonic() - started
                result = Result(item, _size(content), outcome, elapsed_s, memory.peak_mb - idle_mb)
                result.faults += [problem] if problem else []
                if outcome not in item.outcomes and not problem:
                    result.faults.append(f"answered {outcome}, not {' or '.join(item.outcomes)}")
                if elapsed_s > deadline_s + EXTRA_S and item.route != "upload":
                    result.faults.append(f"answered after {elapsed_s:.1f} s")
                if result.peak_mb > MAX_MEMORY_MB:
                    result.faults.append(f"took {result.peak_mb:.0f} MB")
                result.faults += [f"the healthy client: {failure}" for failure in healthy.failures[num_failed:]]
                result.faults += _unwell(url)
                results.append(result)
                report(result)
        end_mb = memory_mb()
    faults = [f"something connected to the port that items refer to: {hit}" for hit in hits]
    if end_mb - idle_mb > MAX_KEPT_MB:
        faults.append(f"kept {end_mb - idle_mb:.0f} MB after all items")
    return Summary(results, faults, idle_mb, end_mb, healthy.latencies_s)


def table_line(result: Result) -> str:
    verdict = "ok" if not result.faults else "FAULT " + "; ".join(result.faults)
    return (
        f"{result.item.route:6} {result.item.name[:58]:58} {result.num_bytes / MEGABYTE:7.2f} MB  "
        f"{result.outcome:18} {result.seconds:6.1f} s {max(0, result.peak_mb):6.0f} MB  {verdict}"
    )


def summary_lines(summary: Summary) -> list[str]:
    latencies = summary.latencies_s
    return [
        f"{len(summary.results)} items, {len(summary.all_faults)} faults; the largest took "
        f"{max(result.peak_mb for result in summary.results):.0f} MB, the longest "
        f"{max(result.seconds for result in summary.results):.1f} s",
        f"memory before {summary.idle_mb:.0f} MB, afterwards {summary.end_mb:.0f} MB",
        f"healthy client: {len(latencies)} requests, median {statistics.median(latencies):.2f} s, "
        f"longest {max(latencies):.2f} s",
        *summary.faults,
    ]


def _size(content: bytes | RawRequest) -> int:
    return len(content) if isinstance(content, bytes) else len(content.head) + len(content.body)


def _send(url: str, item: Item, content: bytes | RawRequest, deadline_s: float) -> tuple[str, str]:
    """Return the outcome, and what is wrong with the answer; empty if nothing is."""
    try:
        if isinstance(content, RawRequest):
            status, body = _exchange(url, content, deadline_s)
        elif item.route == "upload":
            return _index(url, item, content)
        else:
            response = requests.post(
                f"{url}/api/analyze/{item.route}",
                files={str(item.route): content},
                data=dict(item.fields),
                headers={"Origin": ORIGIN},
                timeout=deadline_s + 30,
            )
            status, body = response.status_code, response.json()
    except (requests.RequestException, OSError, ValueError, http.client.HTTPException) as error:
        return "no answer", f"no answer in JSON: {error!r}"[:200]
    outcome = OK if status == 200 else str(body.get("error", {}).get("code")).upper()
    has_right_form = body.get("success") is (status == 200)
    if isinstance(content, RawRequest) and content.head.startswith(b"POST /v1/"):
        has_right_form = set(body) == {"error"}
    if not has_right_form or _STATUS_BY_CODE.get(outcome) != status:
        return outcome, f"{status} {str(body)[:200]}"
    return outcome, ""


def _index(url: str, item: Item, content: bytes) -> tuple[str, str]:
    """Put a document into the library; return how its indexing ends, and what is wrong with the upload's answer.

    Deletes it afterwards, so that the next one does not have to wait for a document that takes long.
    """
    response = requests.post(f"{url}/upload", files={"file": (item.filename, content)}, timeout=INDEXING_S)
    if response.status_code != 200:
        return str(response.json()["error"]["code"]), ""
    path = f"{url}/files/{response.json()['file_id']}"
    end = time.monotonic() + INDEXING_S
    file = requests.get(path, timeout=INDEXING_S).json()
    while file["status"] not in ("completed", "failed") and time.monotonic() < end:
        time.sleep(0.2)
        file = requests.get(path, timeout=INDEXING_S).json()
    requests.delete(path, timeout=INDEXING_S).raise_for_status()
    if file["status"] == "failed":
        return str(file["error"]["code"]), ""
    return (OK, "") if file["status"] == "completed" else (str(file["status"]), f"after {INDEXING_S:.0f} s")


def _exchange(url: str, content: RawRequest, timeout_s: float) -> tuple[int, Any]:
    """Send a request as it is; the server may answer before it has read all of it."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port or 80), timeout=timeout_s + 30) as connection:
        sender = threading.Thread(target=_send_bytes, args=(connection, content.head + content.body), daemon=True)
        sender.start()
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    return response.status, json.loads(body)


def _send_bytes(connection: socket.socket, content: bytes) -> None:
    with suppress(OSError):  # The server has answered and closed the connection.
        connection.sendall(content)


def _unwell(url: str) -> list[str]:
    """Return what health says about deaths, and about work that does not end."""
    health = requests.get(f"{url}/api/health", timeout=10).json()
    unwell = [
        f"{deployment['name']} is {deployment['state']}, {deployment['deaths']} deaths: {deployment.get('detail')}"
        for deployment in health["deployments"]
        if deployment["deaths"] or deployment["state"] != "running"
    ]
    unwell += [str(model["detail"]) for model in health["models"] if "deadline" in str(model.get("detail"))]
    return unwell


def _reported_mb(url: str) -> float:
    return float(requests.get(f"{url}/api/health", timeout=10).json()["system_info"]["memory_usage_mb"])


def _used_mb(server_pid: int) -> float:
    """Return the memory of a server's processes; what they share counts once (PSS)."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(server_pid)
        for process in [server, *server.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                figures = process.memory_full_info()
                total += getattr(figures, "pss", 0) or figures.rss
    return total / MEGABYTE


class _MemoryWatch:
    """Measures in a thread of its own, twice a second."""

    def __init__(self, measure_mb: Callable[[], float]) -> None:
        self.peak_mb = 0.0
        self._measure_mb = measure_mb
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()

    def reset(self) -> None:
        self.peak_mb = 0.0

    def _watch(self) -> None:
        while not self._has_ended.wait(0.5):
            with suppress(requests.RequestException):
                self.peak_mb = max(self.peak_mb, self._measure_mb())


class _HealthyClient:
    """Sends a small picture every second, each time with another comment in it, so that no cache knows it.

    The description must always be the same.
    """

    def __init__(self, url: str) -> None:
        self.failures: list[str] = []
        self.latencies_s: list[float] = []
        self._url = url
        self._expected: str | None = None
        self._picture = (DATA / "picture.jpg").read_bytes()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> "_HealthyClient":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()

    def wait_for(self, num_served: int) -> None:
        while len(self.latencies_s) < num_served and not self.failures:
            time.sleep(0.05)
        if self.failures:
            raise RuntimeError(f"The server does not even serve the healthy client: {self.failures}")

    def _send(self) -> None:
        number = 0
        while not self._has_ended.wait(PERIOD_S if number else 0):
            number += 1
            comment = b"\xff\xfe\x00\x0a%08d" % number
            picture = io.BytesIO(self._picture[:2] + comment + self._picture[2:])
            started = time.monotonic()
            try:
                response = requests.post(
                    f"{self._url}/api/analyze/image",
                    files={"image": picture},
                    data={"max_length": "60"},
                    headers={"Origin": ORIGIN},
                    timeout=120,
                )
                description = response.json().get("description")
            except (requests.RequestException, ValueError) as error:
                self.failures.append(repr(error)[:200])
                continue
            self.latencies_s.append(time.monotonic() - started)
            if response.status_code == 200 and description:
                self._expected = self._expected or description
            if response.status_code != 200 or description != self._expected:
                self.failures.append(f"{response.status_code} {response.text[:200]}")


@contextmanager
def _canary() -> Iterator[list[str]]:
    """Listen on the port that items refer to; yields the list of the addresses that connect to it."""
    hits: list[str] = []
    with socket.create_server(("127.0.0.1", CANARY_PORT)) as server:
        server.settimeout(0.2)
        has_ended = threading.Event()

        def accept() -> None:
            while not has_ended.is_set():
                with suppress(TimeoutError):
                    connection, address = server.accept()
                    connection.close()
                    hits.append(str(address))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield hits
        finally:
            has_ended.set()
            thread.join()
