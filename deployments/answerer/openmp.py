"""Loads the OpenMP library that the wheel of llama.cpp needs but does not contain."""

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

from deployments.errors import ModelNotLoaded

LIBRARY = "libgomp.so.1"
TORCH_LIBRARY = "lib/libgomp.so.1"
"""In torch's package."""


def load_openmp() -> None:
    """Load the system's library, or if it has none, as in a slim container, the one inside torch's wheel.

    Does nothing on other systems than Linux, whose wheels do not need it. Raises ModelNotLoaded if there is neither.
    """
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        torch = find_spec("torch")
        folders = torch.submodule_search_locations if torch else None
        path = Path(next(iter(folders or [""]))) / TORCH_LIBRARY
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            raise ModelNotLoaded(
                f"llama.cpp needs {LIBRARY}: install it, on Debian and Ubuntu the package libgomp1."
            ) from error
