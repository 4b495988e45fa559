"""Backs up a library, also while a server uses it, and restores a backup.

A backup is itself a library's folder: the database, the originals and, if the library is encrypted, `encryption.json`.
It is the state at one moment. The database is copied by SQLite's backup interface (https://sqlite.org/backup.html) in a
read transaction, so writers go on. Originals never change, so those of an earlier backup in the folder are not copied
again.
"""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.errors import Conflict, ModelNotLoaded, NotFound
from deployments.library.backend import DATABASE_FILE
from deployments.library.database import connect_to_file, is_damaged_file, storage_errors
from deployments.library.database_id import database_id_of
from deployments.library.encryption import KEY_FILE, Keys, open_keys
from deployments.library.folder_lock import FolderInUse, FolderLock
from deployments.library.library import ORIGINALS_FOLDER
from deployments.library.originals import Originals
from deployments.library.settings import LibraryConfig
from deployments.library.sync import replace_file, sync_folder

BACKUP_FILE = "backup.json"
"""Marks a folder as a backup, which `back_up` may change, and has the path of its library's folder."""
MAX_SNAPSHOTS = 5
"""How often the database is copied at most: again if a file was deleted before its original was copied."""


@dataclass(frozen=True)
class Backup:
    """The size of a backup."""

    num_files: int
    num_copied: int
    """Originals that an earlier backup in the folder did not have."""


def back_up(config: LibraryConfig, target: Path) -> Backup:
    """Copy the library to the folder `target`: a new or empty one, or one with an earlier backup of this library.

    Raises NotFound if there is no library, Conflict if `target` is not such a folder or its marker is damaged,
    ModelNotLoaded if the library is in Postgres, the key is not the library's or another process has `target`, and
    StorageFull.
    """
    source = config.folder
    if database_id_of(source) is not None or config.database_url.get_secret_value():
        raise ModelNotLoaded(
            "The rows of this library are in Postgres. Back up that database with pg_dump, and then copy the folder "
            f"{source}."
        )
    if not (source / DATABASE_FILE).exists():
        raise NotFound(f"There is no library in {source}.")
    keys = open_keys(source, source / DATABASE_FILE, config.encryption_key)
    with storage_errors(), _locked_target(source, target):
        if keys is not None:
            replace_file(target / KEY_FILE, (source / KEY_FILE).read_bytes())
        stored, copied = Originals(source / ORIGINALS_FOLDER, keys), Originals(target / ORIGINALS_FOLDER, keys)
        for unfinished in copied.unfinished():
            copied.discard(unfinished)
        # Most originals before the database: then few remain to be copied after it, and few are deleted meanwhile.
        num_copied = sum(copied.copy_from(stored, name) for name in set(stored.stored()) - set(copied.stored()))
        for _ in range(MAX_SNAPSHOTS):
            checksums = _copy_database(source / DATABASE_FILE, target / DATABASE_FILE, keys)
            names = set(map(copied.name, checksums))
            missing = names - set(copied.stored())
            num_found = sum(copied.copy_from(stored, name) for name in missing)
            num_copied += num_found
            if num_found == len(missing):
                break
        else:
            raise Conflict("Files are being deleted from the library all the time; try again later.")
        for name in set(copied.stored()) - names:
            copied.remove_stored(name)
    return Backup(len(checksums), num_copied)


def restore(backup: Path, config: LibraryConfig) -> int:
    """Copy a backup to the folder of `config`, which must be new or empty, and return the number of its files.

    Raises NotFound if there is no backup, Conflict if the folder is not empty, ModelNotLoaded if the key is not that of
    the backup or its database is damaged, and StorageFull. If it is interrupted, the folder has originals but no
    library.
    """
    if not (backup / DATABASE_FILE).exists():
        raise NotFound(f"There is no backup in {backup}.")
    keys = open_keys(backup, backup / DATABASE_FILE, config.encryption_key)
    if config.folder.exists() and any(config.folder.iterdir()):
        raise Conflict(f"{config.folder} is not empty. Choose another folder (DATA_DIR), or move this one away.")
    with storage_errors(), _damage_explained(backup / DATABASE_FILE):
        _check_database(backup / DATABASE_FILE, keys)  # before anything is written
        config.folder.mkdir(parents=True, exist_ok=True)
        stored = Originals(backup / ORIGINALS_FOLDER, keys)
        copied = Originals(config.folder / ORIGINALS_FOLDER, keys)
        for name in stored.stored():
            copied.copy_from(stored, name)
        if keys is not None:
            replace_file(config.folder / KEY_FILE, (backup / KEY_FILE).read_bytes())
        # The database last, since a folder without it is no library.
        return len(_copy_database(backup / DATABASE_FILE, config.folder / DATABASE_FILE, keys))


@contextmanager
def _locked_target(source: Path, target: Path) -> Iterator[None]:
    """Make the folder of a backup, or take one with an earlier backup of the library, and lock it.

    Raises Conflict if the folder holds something else, and ModelNotLoaded if another process has the lock.
    """
    marker, origin = target / BACKUP_FILE, str(source.resolve())
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise Conflict(f"One of {target} and the library's folder {source} is inside the other; choose another folder.")
    if target.exists() and any(target.iterdir()) and _origin(marker) != origin:
        raise Conflict(
            f"{target} is neither empty nor an earlier backup of the library in {source}; choose another folder."
        )
    target.mkdir(parents=True, exist_ok=True)
    try:
        lock = FolderLock(target)
    except FolderInUse as error:
        raise ModelNotLoaded(str(error)) from None
    try:
        replace_file(marker, json.dumps({"library": origin}).encode())
        yield
    finally:
        lock.close()


def _origin(marker: Path) -> str | None:
    """Return the path of the library's folder in the marker of a backup; None if there is no marker. Raises Conflict if
    it is damaged."""
    try:
        content: dict[str, Any] = json.loads(marker.read_bytes())
        return str(content["library"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise Conflict(
            f"{marker} is damaged, so that nobody knows of which library {marker.parent} is a backup. Choose another "
            "folder; the backup there can still be restored."
        ) from None


@contextmanager
def _damage_explained(database: Path) -> Iterator[None]:
    """Raise ModelNotLoaded, with what to do, for an error that says that the database of a backup is damaged."""
    try:
        yield
    except Exception as error:
        if is_damaged_file(error):
            raise ModelNotLoaded(f"{database} is damaged ({error}). Restore another backup.") from error
        raise


def _check_database(database: Path, keys: Keys | None) -> None:
    """Read the names of the tables; raises ModelNotLoaded if there is none, and SQLite's error for a damaged file."""
    with closing(connect_to_file(database, None if keys is None else keys.database)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone() is None:
            raise ModelNotLoaded(f"{database} is not the database of a library. Restore another backup.")


def _copy_database(source: Path, target: Path, keys: Keys | None) -> list[str]:
    """Copy a database in one read transaction, and return the checksums of its files.

    The copy replaces an earlier one once it is complete.
    """
    key = None if keys is None else keys.database
    incomplete = target.with_suffix(".new")
    incomplete.unlink(missing_ok=True)
    with (
        closing(connect_to_file(source, key)) as original,
        closing(connect_to_file(incomplete, key)) as copy,
    ):
        original.backup(copy)
        # The copy is in WAL mode, too. Without a log, the whole database is one file.
        copy.execute("PRAGMA journal_mode=DELETE")
        checksums = [checksum for (checksum,) in copy.execute("SELECT checksum FROM files")]
    with incomplete.open("rb") as file:
        os.fsync(file.fileno())
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    os.replace(incomplete, target)
    sync_folder(target.parent)
    return checksums
