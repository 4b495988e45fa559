"""A library whose database is a file in its folder."""

from deployments.errors import ModelNotLoaded
from deployments.library.backend import DATABASE_FILE, Backend
from deployments.library.database import SqliteDatabase
from deployments.library.database_id import database_id_of
from deployments.library.encryption import Keys
from deployments.library.settings import LibraryConfig
from deployments.library.unspaced import separated
from deployments.library.vectors import VectorIndex
from deployments.library.words import WordIndex


def open_sqlite(config: LibraryConfig, keys: Keys | None) -> Backend:
    """Raises ModelNotLoaded if the folder belongs to a library in Postgres, or a newer version wrote it."""
    if database_id_of(config.folder) is not None:
        raise ModelNotLoaded(
            f"The originals in {config.folder} belong to a library in Postgres. Set DATABASE_URL to it, or choose "
            "another folder (DATA_DIR)."
        )
    key = None if keys is None else keys.database
    database = SqliteDatabase(config.folder / DATABASE_FILE, {"separated": separated}, key)
    return Backend(database, WordIndex(), VectorIndex())
