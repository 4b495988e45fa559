"""Writes to the disk so that a crash or a power failure loses nothing afterwards."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk: only then is a file made, renamed or removed for good."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file to the disk; a crash leaves the former one."""
    incomplete = path.with_name(f"{path.name}.new")
    with incomplete.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(incomplete, path)
    sync_folder(path.parent)
