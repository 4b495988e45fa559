"""Puts the names in a folder on the disk."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Return when a folder's names are on the disk: a file that was made, renamed or removed is so only then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
