"""Folders of compiled kernels, one for each version of what they depend on, kept between starts.

A folder is `kernels/<fingerprint>/<name>` under $NUMBA_CACHE_DIR/prism, $XDG_CACHE_HOME/prism or ~/.cache/prism. The
fingerprint changes with this package's sources and location, the CPU, and the versions of Python, numba, llvmlite and
numpy, so a folder never holds code for anything else. Numba writes the files. A manifest with their checksums, written
last, marks the folder as complete.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import llvmlite
import numba
import numpy as np
from filelock import FileLock
from llvmlite import binding

from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.log import logger

_MANIFEST = "manifest.json"
_MAX_FINGERPRINTS = 8
"""How many fingerprints' folders are kept, the most recently used ones: installations of one user share the cache."""
_LOCK_TIMEOUT_S = 300
"""Seconds to wait for another process that compiles; it took 40 s on a core that three processes shared."""

_config_lock = threading.Lock()


class Dispatcher(Protocol):
    """What `numba.njit` returns: a function that is compiled for the types of its arguments when it is called."""

    py_func: Callable[..., object]
    signatures: Sequence[object]
    """The argument types that it was compiled for."""
    stats: Any
    """`cache_hits` and `cache_misses`: how often it was loaded and compiled, by signature."""

    def __call__(self, *arguments: object) -> object: ...

    def enable_caching(self) -> None:
        """Make numba save the compiled code in a file, and load it from there."""


class KernelCache:
    """One folder of compiled kernels."""

    def __init__(self, name: str) -> None:
        """Create the folder if it does not exist. Raises OSError if it cannot be written."""
        self._root = _root()
        self._fingerprint = fingerprint()
        self.folder = self._root / self._fingerprint / name
        self._create()

    def lock(self) -> FileLock:
        """Return the lock to hold while kernels are compiled, so that only one process compiles them.

        Acquiring it raises filelock.Timeout, an OSError, after _LOCK_TIMEOUT_S.
        """
        return FileLock(self._root / "compiling.lock", timeout=_LOCK_TIMEOUT_S)

    def enable_for(self, dispatcher: Dispatcher) -> None:
        """Make numba save the compiled code of a function in this folder, and load it from there."""
        # Numba reads this setting in enable_caching only, so other users of numba keep their own cache folder.
        with _config_lock:
            before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(self.folder)
            try:
                dispatcher.enable_caching()
            finally:
                numba.config.CACHE_DIR = before

    def is_complete(self) -> bool:
        """Return whether the folder was sealed and its files are intact; a power failure may damage them."""
        manifest = self.folder / _MANIFEST
        try:
            checksums: dict[str, str] = json.loads(manifest.read_bytes())
            is_intact = all(_checksum(self.folder / name) == checksum for name, checksum in checksums.items())
            os.utime(self.folder.parent)  # Marks the fingerprint as recently used.
        except FileNotFoundError:
            return False
        except (OSError, ValueError, AttributeError) as error:
            logger.warning("The compiled kernels in %s cannot be read: %r", self.folder, error)
            return False
        if not is_intact:
            logger.warning("The compiled kernels in %s are damaged.", self.folder)
        return is_intact

    def clear(self) -> None:
        """Delete everything in the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._create()

    def num_saved(self) -> int:
        """Return how many compiled functions are in the folder; each signature of a function counts."""
        return sum(1 for _ in self.folder.rglob("*.nbc"))

    def seal(self) -> None:
        """Mark the folder as complete, and delete the folders that have not been used for the longest time."""
        files = [path for path in self.folder.rglob("*") if path.suffix in (".nbi", ".nbc")]
        checksums = {path.relative_to(self.folder).as_posix(): _checksum(path) for path in files}
        temporary = self.folder / f"{_MANIFEST}.{os.getpid()}"
        temporary.write_text(json.dumps(checksums))
        temporary.replace(self.folder / _MANIFEST)
        self._delete_old()

    def _create(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(
            dir=self.folder
        ).close()  # Raises OSError, where numba would silently use another folder.

    def _delete_old(self) -> None:
        others = [
            path
            for path in self._root.iterdir()
            if re.fullmatch("[0-9a-f]{24}", path.name) and path.name != self._fingerprint
        ]
        others.sort(key=lambda path: path.stat().st_mtime)
        for path in others[: max(0, len(others) + 1 - _MAX_FINGERPRINTS)]:
            shutil.rmtree(path, ignore_errors=True)


@cache
def fingerprint() -> str:
    """Return a hash of everything that compiled kernels depend on."""
    package = Path(__file__).parent
    dependencies = [
        str(package),
        sys.version,
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        numba.config.CPU_NAME or binding.get_host_cpu_name(),
        numba.config.CPU_FEATURES or binding.get_host_cpu_features().flatten(),
        str(local_vnni_vector_bytes()),
    ]
    hashed = hashlib.sha256("\n".join(dependencies).encode())
    for path in sorted(package.glob("*.py")):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:24]


def _root() -> Path:
    base = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "prism" / "kernels"


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
