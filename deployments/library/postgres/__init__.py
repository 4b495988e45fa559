"""A library whose database is in Postgres; the folder has the originals.

Vectors are a column of pgvector's `halfvec`, searched exactly. The words' index is a `tsvector` of our own terms with
their positions and a GIN index, and BM25 is computed over what matches.
"""

from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from deployments.errors import ModelNotLoaded
from deployments.library import counters
from deployments.library.backend import DATABASE_FILE, Backend
from deployments.library.database_id import database_id_of, note_database_id
from deployments.library.originals import Originals
from deployments.library.settings import LibraryConfig
from deployments.library.tables import FileRow
from deployments.library.words import Terms


def open_postgres(config: LibraryConfig, originals: Originals, terms: Terms, lock_wait_s: float) -> Backend:
    """Raises ModelNotLoaded if the packages, the server or the database are missing, if another process has the
    database after `lock_wait_s`, or if the folder belongs to another one."""
    try:
        import pgvector  # noqa: F401
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ModelNotLoaded(
            f"DATABASE_URL names a Postgres database, and a package for it is missing ({error}). Install the extra "
            "`postgres`; in a checkout: pip install -r requirements-postgres.txt"
        ) from None
    from deployments.library.postgres.database import PostgresDatabase
    from deployments.library.postgres.vectors import PostgresVectors
    from deployments.library.postgres.words import PostgresWords

    database = PostgresDatabase(config.database_url.get_secret_value(), lock_wait_s)
    try:
        with database.writing() as session:
            _check_folder(session, config.folder, originals, database.name)
    except BaseException:
        database.close()
        raise
    return Backend(database, PostgresWords(terms), PostgresVectors())


def _check_folder(session: Session, folder: Path, originals: Originals, name: str) -> None:
    """Raise ModelNotLoaded unless the folder is the database's; if both are empty, make them each other's."""
    noted = database_id_of(folder)
    if noted is not None and noted == counters.database_id(session):
        return
    if (folder / DATABASE_FILE).exists():
        raise ModelNotLoaded(
            f"The folder {folder} has a library of its own, in SQLite. Choose another folder (DATA_DIR) for the "
            "originals of a library in Postgres, or leave DATABASE_URL empty."
        )
    if session.scalar(select(func.count()).select_from(FileRow)) or any(originals.stored()):
        raise ModelNotLoaded(
            f"The folder {folder} does not have the originals of the library in {name}. Set DATA_DIR to the folder "
            "that has them, or choose an empty folder and an empty database."
        )
    note_database_id(folder, counters.new_database_id(session))
