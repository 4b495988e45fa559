"""Measures uploads to a running server: `prism benchmark search upload [--url URL] [--rounds 5]`.

How long a file of 10 MB takes until it is answered, which is when it is stored durably, and how long each kind of file
takes from then until it can be found. Every file is new. The figures are the median and the longest of all rounds; the
floor of an answer is this program's own time to write and sync the same bytes to the disk.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Mapping, Sequence
from itertools import count

import numpy as np
import requests

from deployments.project import MINIATURES_FILE, project_folder
from prism.tools import import_tool

SAMPLES = project_folder() / "samples"
LARGE_BYTES = 10_000_000
TIMEOUT_S = 600
POLL_S = 0.02

_numbers = count()


def large_sound() -> bytes:
    """Return a WAV of noise of 10 MB."""
    samples = np.random.default_rng(next(_numbers)).integers(-(2**15), 2**15, LARGE_BYTES // 2, np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(samples.tobytes())
    return file.getvalue()


def sample(name: str, ending: bytes) -> bytes:
    """Return a sample with a new ending, one that its format allows, of `ending` and ten digits."""
    return (SAMPLES / name).read_bytes() + ending + b"%010d" % next(_numbers)


KINDS: Mapping[str, Callable[[], bytes]] = {
    "article.pdf": lambda: sample("article.pdf", b"%"),
    "note.txt": lambda: f"The ferry number {next(_numbers)} leaves at nine. ".encode() * 50,
    "picture.jpg": lambda: sample("picture.jpg", b"\n"),
    "recording.mp3": lambda: sample("recording.mp3", b"TAG".ljust(118)),
    "clip.mp4": lambda: sample("clip.mp4", b"\x00\x00\x00\x12free"),
}
"""How a new file of each kind is made."""


def upload(url: str, name: str, content: bytes) -> int:
    """Upload a file and return its id."""
    response = requests.post(f"{url}/upload", files={"file": (name, content)}, timeout=TIMEOUT_S)
    response.raise_for_status()
    if response.json()["duplicate"]:
        raise RuntimeError(f"{name} is not new")
    file_id: int = response.json()["file_id"]
    return file_id


def remove(url: str, file_id: int) -> None:
    requests.delete(f"{url}/files/{file_id}", timeout=TIMEOUT_S).raise_for_status()


def seconds_to_answer(url: str) -> float:
    content = large_sound()
    start = time.perf_counter()
    file_id = upload(url, "noise.wav", content)
    seconds = time.perf_counter() - start
    remove(url, file_id)
    return seconds


def seconds_to_write() -> float:
    content = large_sound()
    with tempfile.NamedTemporaryFile() as file:
        start = time.perf_counter()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - start


def seconds_to_index(url: str, name: str) -> float:
    """Return how long a file takes from before its upload until it is completed."""
    content = KINDS[name]()
    start = time.perf_counter()
    file_id = upload(url, name, content)
    while True:
        file = requests.get(f"{url}/files/{file_id}", timeout=TIMEOUT_S).json()
        if file["status"] in ("completed", "failed"):
            break
        time.sleep(POLL_S)
    seconds = time.perf_counter() - start
    if file["status"] == "failed":
        raise RuntimeError(f"{name}: {file['error']['message']}")
    remove(url, file_id)
    return seconds


def measure(url: str, num_rounds: int) -> None:
    """Measure, and write a table."""
    for name in KINDS:  # loads the models
        seconds_to_index(url, name)
    _say(f"{'':34} {'median':>8} {'longest':>8}")
    _say_figures("10 MB written and synced", [seconds_to_write() for _ in range(num_rounds)])
    _say_figures("10 MB uploaded", [seconds_to_answer(url) for _ in range(num_rounds)])
    for name in KINDS:
        _say_figures(f"{name} can be found", [seconds_to_index(url, name) for _ in range(num_rounds)])


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks.search upload") -> int:
    """Measure, and write a table; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running server (default: one of the miniatures is started)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    if options.url is not None:
        measure(options.url.rstrip("/"), options.rounds)
        return 0
    # As a tool: an installed copy has it under another name.
    with import_tool("samples.running_server").running_server(project_folder() / MINIATURES_FILE) as server:
        measure(server.url, options.rounds)
    return 0


def _say_figures(name: str, seconds: Sequence[float]) -> None:
    _say(f"{name:34} {statistics.median(seconds):6.3f} s {max(seconds):6.3f} s")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
