"""The library's SQLite database: one writer, any number of readers that never wait for it, and the version of its
tables.

WAL with `synchronous=FULL`: a transaction is on the disk when it is committed. `secure_delete`: what is deleted is
overwritten with zeros. Nothing temporary is written to another folder.
"""

import errno
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from deployments.errors import ModelNotLoaded, ServerBusy, StorageFull
from deployments.library.tables import SCHEMA_VERSION

MIGRATIONS_FOLDER = Path(__file__).parent / "migrations"
MAX_READERS = 8
"""Connections for reading; each has a page cache of its own."""

_CACHE_KIB = 4 * 1024
_MAX_KEPT_LOG_BYTES = 64 * 2**20
"""A log that a large transaction left behind is cut to this size."""
_BUSY_TIMEOUT_S = 30.0
"""How long a statement waits for a lock; only `checkpoint` and another program's copy of the folder hold one."""

_MAX_WAIT_S = 25.0
"""How long a change waits for another thread's."""

_UPGRADE_LOCK = threading.Lock()
"""Alembic keeps the connection that it works on in globals of its modules."""

SqlFunctions = dict[str, Callable[[Any], Any]]
"""Python functions of one argument that SQL calls by name."""


class Database:
    """Opens the database and brings its tables up to date."""

    def __init__(self, path: Path, functions: SqlFunctions) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._writer = _engine(path, functions, num_connections=1, writes=True)
        self._readers = _engine(path, functions, num_connections=MAX_READERS, writes=False)
        try:
            with storage_errors():
                self._upgrade()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._readers.dispose()
        self._writer.dispose()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other threads from writing, also after a transaction inside has ended. Raises ServerBusy."""
        if not self._lock.acquire(timeout=_MAX_WAIT_S):
            raise ServerBusy("The library is busy with a large change; try again later.")
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is committed at the end; one at a time. Raises StorageFull, and then nothing is
        changed."""
        with self.locked(), storage_errors(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees the state at its first statement, whatever is written meanwhile."""
        with storage_errors(), Session(self._readers) as session, session.begin():
            yield session

    def checkpoint(self) -> bool:
        """Write the log into the database file and empty the log; False if readers kept some of it in use."""
        with self._without_transaction() as cursor:
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def shrink(self) -> None:
        """Give the space of deleted rows back to the system."""
        with self._without_transaction() as cursor:
            # `execute` would free one page only: it stops after the first step of a statement without columns.
            cursor.executescript("PRAGMA incremental_vacuum")

    @contextmanager
    def _without_transaction(self) -> Iterator[Any]:
        """Give a cursor of the writer for statements that cannot run in a transaction."""
        with self.locked(), storage_errors():
            connection = self._writer.raw_connection()
            try:
                yield connection.cursor()
            finally:
                connection.close()

    def _upgrade(self) -> None:
        """Create the tables, or change those of an earlier version."""
        with self._writer.begin() as connection:
            version = _schema_version(connection)
            if version == SCHEMA_VERSION:
                return
            if version is not None and version > SCHEMA_VERSION:
                raise ModelNotLoaded(
                    f"The library in {self.path.parent} was written by a newer version of this program (tables "
                    f"{version}, this one knows {SCHEMA_VERSION}). Start that version, or choose another folder."
                )
            # Imported here, because only the first start after an update needs it.
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
            config.attributes["connection"] = connection
            with _UPGRADE_LOCK:
                command.upgrade(config, SCHEMA_VERSION)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise StorageFull for an error that says that the disk is full."""
    try:
        yield
    except (OSError, DatabaseError, sqlite3.Error) as error:
        if _is_disk_full(error):
            raise StorageFull(
                "The disk with the library's folder is full, so nothing was changed. Free some space there, then try "
                "again."
            ) from error
        raise


def is_damaged(error: DatabaseError) -> bool:
    """Return whether an error says that the database, or an index in it, is damaged."""
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the low byte is the primary code


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.orig if isinstance(error, DatabaseError) else error
    return getattr(cause, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def _schema_version(connection: Connection) -> str | None:
    known = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").first()
    if known is None:
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version


def _engine(path: Path, functions: SqlFunctions, *, num_connections: int, writes: bool) -> Engine:
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        poolclass=QueuePool,
        pool_size=num_connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_S},
        json_serializer=partial(json.dumps, ensure_ascii=False, separators=(",", ":")),
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` below says
        for pragma in (
            "auto_vacuum=INCREMENTAL",  # before the first table
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "temp_store=MEMORY",
            f"cache_size=-{_CACHE_KIB}",
            f"journal_size_limit={_MAX_KEPT_LOG_BYTES}",
            f"query_only={'OFF' if writes else 'ON'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        for name, function in functions.items():
            connection.create_function(name, 1, function, deterministic=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
