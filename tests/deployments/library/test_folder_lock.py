"""One process owns a library's folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.errors import ModelNotLoaded, NotFound
from deployments.library.folder_lock import FolderInUse, FolderLock
from deployments.library.library import Library
from deployments.library.offline import run_offline
from deployments.library.settings import LibraryConfig

HOLD = """
import sys, time
from pathlib import Path
from deployments.library.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_second_process_is_refused_with_the_name_of_the_first(config: LibraryConfig) -> None:
    Library(config).close()
    with holder(config.folder) as process:
        with pytest.raises(FolderInUse, match=rf"process {process.pid} on .+, since 20"):
            Library(config)
        with pytest.raises(ModelNotLoaded, match=f"process {process.pid}"):
            run_offline(config, "verify")
    Library(config).close()


def test_the_kernel_releases_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        FolderLock(tmp_path, wait_s=10).close()


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    start = time.monotonic()
    with holder(tmp_path):
        with pytest.raises(FolderInUse):
            FolderLock(tmp_path, wait_s=0.3)
    assert time.monotonic() - start >= 0.3


def test_the_same_process_cannot_open_a_library_twice(library: Library, config: LibraryConfig) -> None:
    with pytest.raises(FolderInUse, match=f"process {os.getpid()} "):
        Library(config)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\nfrom pathlib import Path\nfrom deployments.library.folder_lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\nchild = os.fork()\n"
        "if child == 0:\n    os.closerange(1, 3)\n    time.sleep(60)\n"
        "print(child)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    try:
        FolderLock(tmp_path).close()
    finally:
        os.kill(int(result.stdout), signal.SIGKILL)


def test_without_a_library_there_is_nothing_to_verify(config: LibraryConfig) -> None:
    with pytest.raises(NotFound):
        run_offline(config, "verify")
    assert not config.folder.exists()
