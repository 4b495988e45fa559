"""What two large videos at once take of the machine's memory, and that it is given back."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from deployments.units import MEGABYTE
from samples.running_server import RunningServer
from tests.e2e.client import DATA, answer_of, post_file

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

VIDEO_MB = 90
PEAK_PER_BYTE = 2.5
"""The most that memory may rise, in bytes of the videos."""
LEFT_MB = 100
"""What may be left of that: Ray keeps the memory of frames that were handed on, each twice, for the next ones."""
GIVEN_BACK_S = 30.0


def memory_bytes(server: RunningServer) -> int:
    """Return the memory of all processes of the server, the object store included; shared memory is counted once.

    Pages of the object store count as long as the store has them, whether or not a process has them mapped.
    """
    num_bytes = 0
    store: dict[int, int] = {}
    for process in [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            num_bytes += _private_bytes(process.pid)
            if process.name() == "raylet":
                store.update(_object_store(process.pid))
    return num_bytes + sum(store.values())


def _private_bytes(pid: int) -> int:
    """Return the proportional set size of a process without its mappings of the object store."""
    num_kb, is_store = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_store = "plasma" in line
        elif line.startswith("Pss:") and not is_store:
            num_kb += int(line.split()[1])
    return num_kb * 1024


def _object_store(pid: int) -> dict[int, int]:
    """Return the allocated bytes of each file in which Ray keeps objects, by inode."""
    sizes = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if "plasma" in str(path.readlink()) and path.stat().st_size:
                sizes[path.stat().st_ino] = path.stat().st_blocks * 512
    return sizes


@contextmanager
def peak_of(server: RunningServer) -> Iterator[list[int]]:
    """Measure all the time during the block; the list has the highest figure after it."""
    peak = [0]
    is_done = threading.Event()

    def measure() -> None:
        while not is_done.wait(0.05):
            peak[0] = max(peak[0], memory_bytes(server))

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield peak
    finally:
        is_done.set()
        thread.join()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of noise, which cannot be compressed."""
    path = tmp_path_factory.mktemp("videos") / "noise.mkv"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuvj420p"
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        while not path.exists() or path.stat().st_size < VIDEO_MB * MEGABYTE:
            picture = random.integers(0, 256, (720, 1280, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert path.stat().st_size < 100 * MEGABYTE
    return path


def test_two_large_videos_are_in_memory_once_and_their_memory_is_given_back(server: RunningServer, video: Path) -> None:
    options = {"num_frames": 5, "max_length": 20}
    for path in (DATA / "clip.mp4", video):  # what is allocated once and kept does not count
        answer_of(post_file(server.url, "video", path, **options))
    time.sleep(GIVEN_BACK_S)
    before = memory_bytes(server)
    with peak_of(server) as peak, ThreadPoolExecutor(2) as clients:
        for response in clients.map(lambda _: post_file(server.url, "video", video, **options), range(2)):
            answer_of(response)
    end = time.monotonic() + GIVEN_BACK_S
    while (left := (memory_bytes(server) - before) / MEGABYTE) > LEFT_MB and time.monotonic() < end:
        time.sleep(1)
    rise = (peak[0] - before) / MEGABYTE
    sent = 2 * video.stat().st_size / MEGABYTE
    figures = f"{sent:.0f} MB of videos: memory rose by {rise:.0f} MB, {left:.0f} MB are left"
    assert rise <= PEAK_PER_BYTE * sent, figures
    assert left <= LEFT_MB, figures
