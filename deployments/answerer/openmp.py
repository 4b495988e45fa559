"""Loads the OpenMP library that the wheel of llama.cpp needs and does not bring."""

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

from deployments.errors import ModelNotLoaded

LIBRARY = "libgomp.so.1"


def load_openmp() -> None:
    """Load the system's library, or where it has none, as in a slim container, the one inside torch's wheel.

    On other systems than Linux the wheel needs none. Raises ModelNotLoaded.
    """
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        torch = find_spec("torch")
        folders = torch.submodule_search_locations if torch else None
        path = Path(next(iter(folders or [""]))) / "lib" / "libgomp.so.1"
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            raise ModelNotLoaded(
                f"llama.cpp needs {LIBRARY}: install it, on Debian and Ubuntu the package libgomp1."
            ) from error
