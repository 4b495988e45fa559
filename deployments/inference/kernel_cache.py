"""Folders of compiled kernels, one for each version of what they depend on, kept between starts.

A folder is `kernels/<fingerprint>/<name>` under $NUMBA_CACHE_DIR/prism, $XDG_CACHE_HOME/prism or ~/.cache/prism. The
fingerprint changes with this package's sources and place, the CPU, and the versions of Python, numba, llvmlite and
numpy, so a folder never holds code for anything else. Numba writes the files; a manifest with their checksums, written
last, says that the folder is complete.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from filelock import FileLock
from llvmlite import binding

from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.log import logger

_MANIFEST = "manifest.json"
_MAX_FINGERPRINTS = 8
"""How many folders are kept, the most recently used: several installations may share one user's cache."""
_LOCK_TIMEOUT_S = 300
"""Compiling took 40 s on a core that three processes shared."""

_config_lock = threading.Lock()


class KernelCache:
    """One folder of compiled kernels; raises OSError when it cannot be written."""

    def __init__(self, name: str) -> None:
        self._root = _root()
        self._fingerprint = fingerprint()
        self.folder = self._root / self._fingerprint / name
        self._create()

    def lock(self) -> FileLock:
        """Return the lock to hold while kernels are compiled, so that of several processes only one compiles them."""
        return FileLock(self._root / "compiling.lock", timeout=_LOCK_TIMEOUT_S)

    def enable_for(self, dispatcher: Any) -> None:
        """Have numba save what it compiles of a function in this folder, and load it from there."""
        # The public setting counts at the moment when caching is enabled; whatever else uses numba keeps its own.
        with _config_lock:
            before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(self.folder)
            try:
                dispatcher.enable_caching()
            finally:
                numba.config.CACHE_DIR = before

    def is_complete(self) -> bool:
        """Return whether the folder was sealed and no file has changed since, as it may after a power failure."""
        manifest = self.folder / _MANIFEST
        try:
            checksums: dict[str, str] = json.loads(manifest.read_bytes())
            is_intact = all(_checksum(self.folder / name) == checksum for name, checksum in checksums.items())
            os.utime(manifest.parent.parent)
        except FileNotFoundError:
            return False
        except (OSError, ValueError, AttributeError) as error:
            logger.warning("The compiled kernels in %s cannot be read: %r", self.folder, error)
            return False
        if not is_intact:
            logger.warning("The compiled kernels in %s are damaged.", self.folder)
        return is_intact

    def clear(self) -> None:
        """Delete whatever is in the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._create()

    def num_saved(self) -> int:
        """Return how many compiled signatures are in the folder."""
        return sum(1 for _ in self.folder.rglob("*.nbc"))

    def seal(self) -> None:
        """Declare the folder complete, and delete the folders that were not used for longest."""
        files = [path for path in self.folder.rglob("*") if path.suffix in (".nbi", ".nbc")]
        checksums = {path.relative_to(self.folder).as_posix(): _checksum(path) for path in files}
        temporary = self.folder / f"{_MANIFEST}.{os.getpid()}"
        temporary.write_text(json.dumps(checksums))
        temporary.replace(self.folder / _MANIFEST)
        self._delete_old()

    def _create(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=self.folder).close()  # Numba would silently choose another folder.

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
    facts = [
        str(package),
        sys.version,
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        numba.config.CPU_NAME or binding.get_host_cpu_name(),
        numba.config.CPU_FEATURES or binding.get_host_cpu_features().flatten(),
        str(local_vnni_vector_bytes()),
    ]
    hashed = hashlib.sha256("\n".join(facts).encode())
    for path in sorted(package.glob("*.py")):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:24]


def _root() -> Path:
    base = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "prism" / "kernels"


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
