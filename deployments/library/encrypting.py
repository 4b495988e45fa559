"""Makes an encrypted copy of a library that is not encrypted."""

from contextlib import closing
from pathlib import Path

from deployments.errors import Conflict, InvalidRequest, ModelNotLoaded, NotFound
from deployments.library.backend import DATABASE_FILE
from deployments.library.database import connect_encrypted, storage_errors
from deployments.library.encryption import KEY_FILE, open_keys
from deployments.library.folder_lock import FolderInUse, FolderLock
from deployments.library.library import ORIGINALS_FOLDER
from deployments.library.originals import Originals
from deployments.library.settings import LibraryConfig
from deployments.library.sync import sync_folder


def encrypt(config: LibraryConfig, target: Path) -> int:
    """Copy the library to the folder `target`, which must be new or empty, encrypted; return the number of its files.

    Raises InvalidRequest without a key, NotFound if there is no library, Conflict if it is encrypted already or
    `target` is not empty, ModelNotLoaded if a process has the library, and StorageFull. If it is interrupted, `target`
    has no library.
    """
    source = config.folder
    if config.encryption_key is None:
        raise InvalidRequest("Set PRISM_ENCRYPTION_KEY to the key with which the copy is to be encrypted.")
    if not (source / DATABASE_FILE).exists():
        raise NotFound(f"There is no library in {source}.")
    if (source / KEY_FILE).exists():
        raise Conflict(f"The library in {source} is encrypted already.")
    if target.exists() and any(target.iterdir()):
        raise Conflict(f"{target} is not empty; choose another folder.")
    try:
        lock = FolderLock(source)
    except FolderInUse as error:
        raise ModelNotLoaded(str(error)) from None
    try:
        with storage_errors():
            return _copy(source, target, config)
    finally:
        lock.close()


def _copy(source: Path, target: Path, config: LibraryConfig) -> int:
    target.mkdir(parents=True, exist_ok=True)
    keys = open_keys(target, target / DATABASE_FILE, config.encryption_key)
    assert keys is not None
    incomplete = target / f"{DATABASE_FILE}.new"
    with closing(connect_encrypted(incomplete, keys.database)) as database:
        # `auto_vacuum` can only be set before the first table. Then as SQLCipher documents it:
        # https://www.zetetic.net/sqlcipher/sqlcipher-api/#sqlcipher_export
        database.execute("PRAGMA auto_vacuum=INCREMENTAL")
        database.execute("ATTACH DATABASE ? AS plain KEY ''", [str(source / DATABASE_FILE)])
        database.execute("SELECT sqlcipher_export('main', 'plain')")
        database.execute("DETACH DATABASE plain")
        checksums = [checksum for (checksum,) in database.execute("SELECT checksum FROM files")]
    stored, copied = Originals(source / ORIGINALS_FOLDER), Originals(target / ORIGINALS_FOLDER, keys)
    for checksum in checksums:
        copied.keep(copied.write(stored.read(checksum), checksum), checksum)
    incomplete.rename(target / DATABASE_FILE)  # last, since a folder without it is no library
    sync_folder(target)
    return len(checksums)
