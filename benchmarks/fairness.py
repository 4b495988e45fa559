"""Measures how long small pictures wait beside long work: `prism benchmark fairness [--clients 1 4 16]`.

Starts a server, sends small pictures one after another, first alone, then beside clients that send long videos,
recordings or videos with sound without a pause, and at last beside the indexing of several hundred files; beside that,
searches are measured, too. Every picture, question and file is new, so that no cache answers. The reference is the time
alone, measured in the same run before and after each load; the figures are the 95th percentile and the median, in
milliseconds and as a ratio.
"""

import argparse
import io
import statistics
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import requests
from PIL import Image, ImageDraw

from deployments.project import MINIATURES_FILE, project_folder
from prism.tools import import_tool

SAMPLES = project_folder() / "samples"
PICTURE_TIMEOUT_S = 600
WARM_UP_PICTURES = 5
WARM_UP_S = 3.0
"""How long a load runs before pictures are measured beside it."""

_numbers = count()


@dataclass(frozen=True)
class Load:
    """A long request that clients send again and again."""

    name: str
    path: str
    field: str
    file: Path
    options: Mapping[str, str]
    has_prompt: bool
    repeats: int = 1
    """How often the file's content is sent in a row: MP3 files can be joined in this way."""


LOADS = (
    Load(
        "videos", "/api/analyze/video", "video", SAMPLES / "clip.mp4", {"num_frames": "32", "max_length": "1024"}, True
    ),
    Load(
        "videos with sound",
        "/api/analyze/video",
        "video",
        SAMPLES / "clip.mp4",
        {"num_frames": "16", "max_length": "1024", "include_audio": "true"},
        True,
    ),
    Load("recordings", "/api/analyze/audio", "audio", SAMPLES / "recording.mp3", {}, False, repeats=20),
)


def picture() -> bytes:
    """Return a small picture that no cache knows."""
    file = io.BytesIO()
    pixels = np.random.default_rng(next(_numbers)).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).resize((320, 240)).save(file, "PNG")
    return file.getvalue()


def picture_seconds(url: str, num_pictures: int) -> list[float]:
    """Send pictures one after another and return how long each took."""
    seconds = []
    for _ in range(num_pictures):
        files = {"image": picture()}
        start = time.perf_counter()
        response = requests.post(
            f"{url}/api/analyze/image", files=files, data={"max_length": "20"}, timeout=PICTURE_TIMEOUT_S
        )
        response.raise_for_status()
        seconds.append(time.perf_counter() - start)
    return seconds


@contextmanager
def clients(url: str, load: Load, num_clients: int) -> Iterator[None]:
    """Keep clients busy with a load for the length of the block."""
    stop = threading.Event()
    content = load.file.read_bytes() * load.repeats

    def run() -> None:
        while not stop.is_set():
            options = dict(load.options)
            if load.has_prompt:
                options["prompt"] = f"What happens next in scene {next(_numbers)}?"
            response = requests.post(
                url + load.path, files={load.field: content}, data=options, timeout=PICTURE_TIMEOUT_S
            )
            if response.status_code == 503:
                stop.wait(float(response.headers.get("Retry-After", "1")))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(WARM_UP_S)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def search_seconds(url: str, num_searches: int) -> list[float]:
    """Search one time after another, always for something else, and return how long each took."""
    seconds = []
    for _ in range(num_searches):
        body = {"query": f"What does note {next(_numbers)} say about the ferry?"}
        start = time.perf_counter()
        response = requests.post(f"{url}/search", json=body, timeout=PICTURE_TIMEOUT_S)
        response.raise_for_status()
        seconds.append(time.perf_counter() - start)
    return seconds


@contextmanager
def indexing(url: str, num_files: int) -> Iterator[None]:
    """Put new files into the library before the block, and remove them after it; some must then still be waiting."""
    ids = []
    try:
        for _ in range(num_files):
            response = requests.post(f"{url}/upload", files={"file": file_to_index()}, timeout=PICTURE_TIMEOUT_S)
            response.raise_for_status()
            ids.append(response.json()["file_id"])
        yield
        waiting = requests.get(f"{url}/files", params={"status": "pending"}, timeout=PICTURE_TIMEOUT_S).json()["total"]
        if not waiting:
            raise RuntimeError("All files were indexed before the measurement ended: take more files or fewer pictures")
        _say(f"{num_files} files in the library, {waiting} of them still to be indexed at the end")
    finally:
        for file_id in ids:
            requests.delete(f"{url}/files/{file_id}", timeout=PICTURE_TIMEOUT_S).raise_for_status()


def file_to_index() -> tuple[str, bytes]:
    """Return name and content of a new file: in turn a picture with words, a PDF, a text, a recording and a video."""
    number = next(_numbers)
    words = f"Note {number}: the ferry to island {number % 97} leaves at {number % 24}:15 from pier {number % 7}."
    match number % 5:
        case 0:
            image = Image.new("RGB", (640, 480), "white")
            for row in range(8):
                ImageDraw.Draw(image).text((20, 20 + 50 * row), f"{row}. {words}", "black", font_size=16)
            file = io.BytesIO()
            image.save(file, "PNG")
            return f"note {number}.png", file.getvalue()
        case 1:
            return f"article {number}.pdf", (SAMPLES / "article.pdf").read_bytes() + f"% {number}\n".encode()
        case 2:
            title = f"{number:<30}".encode()
            return f"recording {number}.mp3", (SAMPLES / "recording.mp3").read_bytes() + b"TAG" + title.ljust(125)
        case 3:
            unused = struct.pack(">I4sQ", 16, b"free", number)
            return f"clip {number}.mp4", (SAMPLES / "clip.mp4").read_bytes() + unused
    return f"note {number}.txt", "\n\n".join(f"{row}. {words}" for row in range(100)).encode()


def measure(url: str, num_pictures: int, client_counts: Sequence[int], loads: Sequence[Load], num_files: int) -> None:
    """Measure beside each load and number of clients, and write a line for each."""
    picture_seconds(url, WARM_UP_PICTURES)
    before = picture_seconds(url, num_pictures)
    _say(f"{'':30} {'median':>9} {'p95':>9}   median and p95 against alone")
    _say(f"{'alone':30} {_figures(before)}")
    for load in loads:
        for num_clients in client_counts:
            with clients(url, load, num_clients):
                beside = picture_seconds(url, num_pictures)
            after = picture_seconds(url, num_pictures)
            _say_ratios(f"beside {num_clients} x {load.name}", beside, before + after)
            before = after
    if num_files:
        search_seconds(url, WARM_UP_PICTURES)
        searches = search_seconds(url, num_pictures)
        with indexing(url, num_files):
            beside = picture_seconds(url, num_pictures)
            searches_beside = search_seconds(url, num_pictures)
        _say_ratios("beside indexing", beside, before + picture_seconds(url, num_pictures))
        _say(f"{'search alone':30} {_figures(searches)}")
        _say_ratios("search beside indexing", searches_beside, searches)


def _say_ratios(name: str, beside: Sequence[float], alone: Sequence[float]) -> None:
    ratios = statistics.median(beside) / statistics.median(alone), p95(beside) / p95(alone)
    _say(f"{name:30} {_figures(beside)}   {ratios[0]:.1f}x {ratios[1]:.1f}x")


def p95(seconds: Sequence[float]) -> float:
    return float(np.percentile(seconds, 95))


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks.fairness") -> int:
    """Measure, and write a table; returns the exit status."""
    options = _parse(arguments, prog)
    loads = [load for load in LOADS if load.name in options.loads]
    if options.url is not None:
        measure(options.url.rstrip("/"), options.pictures, options.clients, loads, options.files)
        return 0
    # As a tool: an installed copy has it under another name.
    with import_tool("samples.running_server").running_server(options.serve) as server:
        measure(server.url, options.pictures, options.clients, loads, options.files)
    return 0


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog, description="Measures how long small pictures wait beside clients that send long work without a pause."
    )
    add_server_options(parser)
    parser.add_argument("--pictures", type=int, default=100, help="for each figure (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="numbers of clients to try")
    parser.add_argument(
        "--loads", nargs="*", choices=[load.name for load in LOADS], default=[load.name for load in LOADS]
    )
    parser.add_argument("--files", type=int, default=500, help="to be indexed at last; 0: none (default: %(default)s)")
    return parser.parse_args(arguments)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add `--url`, a running server, and `--serve`, the YAML to start one with."""
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", help="a running server (default: one is started)")
    server.add_argument(
        "--serve",
        type=Path,
        metavar="YAML",
        default=project_folder() / MINIATURES_FILE,
        help="start a server with this file (default: the miniatures)",
    )


def _figures(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:6.0f} ms {p95(seconds) * 1000:6.0f} ms"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
