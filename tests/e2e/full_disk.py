"""Runs a server on a small file system, fills that, and makes room again. tests/e2e/test_full_disk.py runs this in a
new mount namespace: `unshare --mount python -m tests.e2e.full_disk`.

The file system is a tmpfs that holds Ray's temporary folder, the processes' other temporary files and the weights. The
object store is small, so a large upload needs room on the disk. The output is JSON: what happened, and when.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from deployments.project import project_folder
from deployments.units import MEGABYTE
from samples.running_server import running_server
from tests.e2e.client import DATA, post_file, replica_of
from tests.e2e.namespaces import CANNOT

DISK_MB = 300
OBJECT_STORE_MB = 80
"""Ray takes no less than 75."""
MAX_FILES = 20_000
VIDEO_MB = 90
"""Fits on the disk, but not into the object store."""
WAIT_S = 150.0


def main() -> int:
    with ExitStack() as stack:
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fd-", dir="/tmp")))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,nr_inodes={MAX_FILES}", "tmpfs", str(disk)]
        try:
            subprocess.run(mount, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.stderr.write(f"{error} {getattr(error, 'stderr', '')}\n")
            return CANNOT
        try:
            outcomes = _try(disk)
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
    sys.stdout.write(json.dumps(outcomes))
    return 0


def _try(disk: Path) -> dict[str, Any]:
    """Return for each step the status, the error and the seconds of its request."""
    outcomes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="video-") as elsewhere:
        video = _large_video(Path(elsewhere))
        environment = {"RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(OBJECT_STORE_MB * MEGABYTE)}
        with running_server(project_folder() / "config/mini.yaml", environment, parent=disk) as server:
            options = {"num_frames": 1, "max_length": 5}

            def picture() -> requests.Response:
                return post_file(server.url, "image", DATA / "picture.jpg", max_length=5)

            def clip() -> requests.Response:
                return post_file(server.url, "video", DATA / "clip.mp4", **options)

            def large() -> requests.Response:
                return post_file(server.url, "video", video, **options)

            outcomes["large video, with room"] = _outcome(large)
            # Ray gives the room back a little later.
            _wait_until(lambda: shutil.disk_usage(disk).used < VIDEO_MB * MEGABYTE)
            filler = disk / "filler"
            _fill(filler)
            outcomes["large video, full"] = _outcome(large)
            outcomes["picture, full"] = _outcome(picture)
            outcomes["clip, full"] = _outcome(clip)
            replica_of(server.pid, "FrameSampler").kill()
            outcomes["seconds until a clip is refused"] = _wait_until(lambda: clip().status_code == 503)
            outcomes["clip, full, after the sampler was lost"] = _outcome(clip)
            outcomes["health, full"] = requests.get(f"{server.url}/api/health", timeout=10).json()
            outcomes["picture, full, after the sampler was lost"] = _outcome(picture)
            shutil.rmtree(filler)
            outcomes["seconds until a clip is answered again"] = _wait_until(lambda: clip().status_code == 200)
            outcomes["large video, with room again"] = _outcome(large)
            outcomes["picture, with room again"] = _outcome(picture)
    return outcomes


def _large_video(folder: Path) -> Path:
    """Return the clip with a `free` box behind it, which players skip."""
    path = folder / "large.mp4"
    padding = VIDEO_MB * MEGABYTE
    path.write_bytes((DATA / "clip.mp4").read_bytes() + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8))
    return path


def _fill(folder: Path) -> None:
    """Write files until the disk has room for no byte and for no file."""
    folder.mkdir()
    with (folder / "bytes").open("wb", buffering=0) as file:
        for num_bytes in (MEGABYTE, 4096, 1):
            try:
                while True:
                    file.write(bytes(num_bytes))
            except OSError:
                continue
    try:
        for number in range(MAX_FILES):
            (folder / str(number)).touch()
    except OSError:
        return
    raise RuntimeError("the disk takes more files than it may")


def _outcome(post: Callable[[], requests.Response]) -> dict[str, Any]:
    start = time.monotonic()
    response = post()
    seconds = time.monotonic() - start
    return {"status": response.status_code, "seconds": round(seconds, 2), "error": response.json().get("error")}


def _wait_until(condition: Callable[[], bool]) -> float:
    """Return after how many seconds the condition holds; raises TimeoutError."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() > start + WAIT_S:
            raise TimeoutError
        time.sleep(0.2)
    return round(time.monotonic() - start, 1)


if __name__ == "__main__":
    sys.exit(main())
