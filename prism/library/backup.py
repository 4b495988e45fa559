"""The commands `prism backup`, `prism restore` and `prism encrypt`: back up the library in `DATA_DIR`, restore a backup
there, and make an encrypted copy.

They read and write the folders themselves, without the server; `backup` works also while one uses the library.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.counted import counted
from deployments.errors import ServiceError
from deployments.library.settings import LibraryConfig
from prism.library.command import say, show_report
from serve_app.serve_yaml import InvalidServeYaml, validate_settings
from serve_app.settings import AppConfig


def backup(arguments: Sequence[str] | None = None, prog: str = "prism backup") -> int:
    """Copy the library to a folder; the exit status is 1 if that fails."""
    parser = argparse.ArgumentParser(
        prog,
        description="Copies the library in DATA_DIR to another folder, as it is at one moment, also while a server "
        "uses it. Run again with the same folder, it copies only what is new and removes what was deleted.",
        epilog="An encrypted library stays encrypted, and needs PRISM_ENCRYPTION_KEY.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder, or that of the last backup")
    folder: Path = parser.parse_args(arguments).folder

    def work(settings: AppConfig) -> int:
        # Imported here: it imports the database, which `--help` does not need.
        from deployments.library.backup import back_up

        result = back_up(settings.library, folder)
        say(
            f"{folder} has the library of {settings.library.folder}: "
            f"{counted(result.num_files, 'file')}, {result.num_copied} of them copied now."
        )
        return 0

    return _run(work)


def restore(arguments: Sequence[str] | None = None, prog: str = "prism restore") -> int:
    """Copy a backup to DATA_DIR and verify it; the exit status is 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        prog, description="Copies a backup to DATA_DIR, which must be new or empty, and verifies the library there."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that `prism backup` has written")
    folder: Path = parser.parse_args(arguments).folder

    def work(settings: AppConfig) -> int:
        from deployments.library.backup import restore as restore_library

        num_files = restore_library(folder, settings.library)
        say(f"{settings.library.folder} has the library of {folder}: {counted(num_files, 'file')}.")
        return _verify(settings.library)

    return _run(work)


def encrypt(arguments: Sequence[str] | None = None, prog: str = "prism encrypt") -> int:
    """Make an encrypted copy of the library and verify it; the exit status is 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        prog,
        description="Copies the library in DATA_DIR, which is not encrypted and which no server uses, to another "
        "folder, encrypted with PRISM_ENCRYPTION_KEY, and verifies the copy. The library itself stays as it is: "
        "delete it once a server runs with the copy as its DATA_DIR.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty folder")
    folder: Path = parser.parse_args(arguments).folder

    def work(settings: AppConfig) -> int:
        from deployments.library.encrypting import encrypt as encrypt_library

        num_files = encrypt_library(settings.library, folder)
        say(f"{folder} has the library of {settings.library.folder}, encrypted: {counted(num_files, 'file')}.")
        return _verify(settings.library.model_copy(update={"folder": folder}))

    return _run(work)


def _verify(library: LibraryConfig) -> int:
    # Imported here: it imports the database, which `--help` does not need.
    from deployments.library.offline import run_offline

    return show_report(run_offline(library, "verify"))


def _run(work: Callable[[AppConfig], int]) -> int:
    try:
        return work(validate_settings({}))
    except (InvalidServeYaml, ServiceError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
