"""Opens files on this machine for tools, only within folders that the user has allowed."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from deployments.errors import Forbidden, InvalidFile, InvalidRequest, NotFound

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Not blocking, because opening a named pipe would wait for its writer."""


def open_allowed(path: str, folders: Sequence[Path]) -> BinaryIO:
    """Open a regular file that is within one of `folders`.

    `..` and symbolic links are resolved before that is decided, and what was decided is what is opened: a link that
    somebody puts there meanwhile is refused. Raises InvalidRequest, Forbidden, NotFound or InvalidFile. A file outside
    the folders gives the same error whether or not it is there.
    """
    if not folders:
        raise Forbidden(
            "Tools may not read any folder. Name those that they may read, separated by commas, in MCP_FOLDERS or "
            "serving.mcp_folders, and start the server again."
        )
    descriptor = _open(*_locate(path, folders), path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidFile(f"{path[:200]} is not a file.")
    return os.fdopen(descriptor, "rb")


def _locate(path: str, folders: Sequence[Path]) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that a file is in, resolved, and the way from there, without links."""
    try:
        given = Path(path).expanduser()
        resolved = given.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, an unknown user, a null byte
        raise InvalidRequest(f"{path[:200]!r} is not a path.") from None
    if not given.is_absolute():
        raise InvalidRequest(f"{path[:200]!r} is not a whole path; begin with / or ~.")
    for folder in folders:
        inside = folder.resolve()
        if resolved.is_relative_to(inside) and resolved != inside:
            return inside, resolved.relative_to(inside).parts
    raise Forbidden(
        f"{path[:200]} is not within a folder that tools may read: {', '.join(map(str, folders))}. MCP_FOLDERS or "
        "serving.mcp_folders lists them."
    )


def _open(folder: Path, way: tuple[str, ...], path: str) -> int:
    """Return the descriptor of a file, opened step by step without following a link."""
    parent = -1
    try:
        parent = os.open(folder, _FOLDER_FLAGS)
        for name in way[:-1]:
            child = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
            os.close(parent)
            parent = child
        return os.open(way[-1], _FILE_FLAGS, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"There is no file {path[:200]}.") from None
    except OSError as error:
        raise InvalidFile(f"{path[:200]} cannot be opened: {error.strerror}.") from None
    finally:
        if parent >= 0:
            os.close(parent)
