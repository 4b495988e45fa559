"""Checks and rebuilds a library without a server, under the folder's lock."""

import time

from sqlalchemy.exc import DatabaseError

from deployments.cancellation import Cancellation
from deployments.errors import ModelNotLoaded, NotFound
from deployments.library.backend import DATABASE_FILE
from deployments.library.database import is_damaged
from deployments.library.database_id import database_id_of
from deployments.library.folder_lock import FolderInUse
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.types import CheckReport

_MAX_S = 24 * 3600.0


def run_offline(config: LibraryConfig, action: str) -> CheckReport:
    """Do `verify` or `rebuild` on the library in a folder; raises NotFound if there is none, and ModelNotLoaded if a
    process has it, with that one's name."""
    if not (config.folder / DATABASE_FILE).exists() and database_id_of(config.folder) is None:
        raise NotFound(f"There is no library in {config.folder}.")
    try:
        library = Library(config)
    except FolderInUse as error:
        raise ModelNotLoaded(str(error)) from None
    except DatabaseError as error:
        if not is_damaged(error):
            raise
        return CheckReport(
            [f"The database is damaged and cannot be opened ({error.orig}). Restore the folder from a copy."]
        )
    try:
        cancellation = Cancellation(time.time() + _MAX_S)
        work = {"verify": library.verify, "rebuild": library.rebuild}[action]
        return work(cancellation)
    finally:
        library.close()
