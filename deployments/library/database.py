"""The library's database: one writer, any number of readers that never wait for it, and the version of its tables.

SQLite runs in WAL mode with `synchronous=FULL`: a transaction is on the disk when it is committed. `secure_delete`:
what is deleted is overwritten with zeros. Nothing temporary is written to another folder.

With a key, SQLCipher encrypts each page of the database and of its log: AES-256-CBC with a random IV, and an
HMAC-SHA512 of the page and its number (https://www.zetetic.net/sqlcipher/design). Only a salt, the first 16 bytes of
the file, is in clear.

Postgres is in deployments/library/postgres.
"""

import errno
import itertools
import json
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, PoolProxiedConnection, create_engine, event, inspect
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

_POSTGRES_DAMAGED = ("XX001", "XX002")
"""The SQLSTATEs data_corrupted and index_corrupted."""

_UPGRADE_LOCK = threading.Lock()
"""Alembic keeps the connection that it works on in globals of its modules."""

json_of = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
"""How values are written into the columns of JSON."""

SqlFunctions = dict[str, Callable[[Any], Any]]
"""Python functions of one argument that SQL calls by name."""


class Database(ABC):
    """Opens the database and brings its tables up to date."""

    def __init__(self, name: str, writer: Engine, readers: Engine) -> None:
        """`name` is what messages call it. `writer` has one connection, and `readers` may not write."""
        self.name = name
        self._lock = threading.RLock()
        self._writer = writer
        self._readers = readers
        try:
            with self._errors():
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
        with self.locked(), self._errors(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            with self._authentic(session):
                yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees the state at its first statement, whatever is written meanwhile."""
        with self._errors(), Session(self._readers) as session, session.begin(), self._authentic(session):
            yield session

    def damaged_pages(self) -> list[str]:
        """Return what is damaged so that nothing else can be compared, one sentence each."""
        return []

    def _authentic(self, session: Session) -> AbstractContextManager[None]:
        """Raises DatabaseError if what was read inside is not what was written."""
        return nullcontext()

    @abstractmethod
    def checkpoint(self) -> bool:
        """Put everything where a copy of the folder has it; False if that was not possible now."""

    @abstractmethod
    def shrink(self) -> None:
        """Give the space of deleted rows back."""

    @abstractmethod
    def problems(self, session: Session) -> Iterator[str]:
        """Yield what the database finds wrong with itself."""

    @abstractmethod
    def bytes_elsewhere(self, session: Session) -> int:
        """Return the size of what is not in the library's folder."""

    @abstractmethod
    def _errors(self) -> AbstractContextManager[None]:
        """Raise ServiceErrors for what the database's errors mean, and let its other errors through."""

    def _upgrade(self) -> None:
        """Create the tables, or change those of an earlier version."""
        with self._writer.begin() as connection:
            version = _schema_version(connection)
            if version == SCHEMA_VERSION:
                return
            if version is not None and version > SCHEMA_VERSION:
                raise ModelNotLoaded(
                    f"The library in {self.name} was written by a newer version of this program (tables "
                    f"{version}, this one knows {SCHEMA_VERSION}). Start that version, or choose another folder or "
                    "database."
                )
            # Imported here, because only the first start after an update needs it.
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
            config.attributes["connection"] = connection
            with _UPGRADE_LOCK:
                command.upgrade(config, SCHEMA_VERSION)


class SqliteDatabase(Database):
    """A file."""

    def __init__(self, path: Path, functions: SqlFunctions, key: bytes | None = None) -> None:
        """`key`, of 32 bytes, must be the one with which the database was made, None for one without encryption."""
        self._dbapi: Any = sqlite3 if key is None else _import_sqlcipher()
        self._is_encrypted = key is not None
        super().__init__(
            str(path.parent),
            _engine(path, functions, self._dbapi, key, num_connections=1, writes=True),
            _engine(path, functions, self._dbapi, key, num_connections=MAX_READERS, writes=False),
        )

    @contextmanager
    def _authentic(self, session: Session) -> Iterator[None]:
        """Raises DatabaseError if a page that was read inside does not fit its HMAC.

        SQLCipher gives zeros in its place and goes on. SQLite notices that in most pages, but not where a long value
        goes on in another page.
        """
        if not self._is_encrypted:
            yield
            return
        connection = session.connection()
        try:
            yield
        except DatabaseError:
            raise
        except Exception:
            self._check_pages(connection)
            raise
        self._check_pages(connection)

    def _check_pages(self, connection: Connection) -> None:
        if connection.invalidated or _has_damaged_page(connection.connection):
            connection.invalidate()
            error = self._dbapi.DatabaseError("a page of the database does not fit its HMAC")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise DatabaseError(None, None, error, hide_parameters=True)

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

    def problems(self, session: Session) -> Iterator[str]:
        connection = session.connection()
        for (finding,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if finding != "ok":
                yield f"The database is damaged: {finding}."
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            yield f"A row of table {row[0]} belongs to a row of {row[2]} that is not there."

    def bytes_elsewhere(self, session: Session) -> int:
        return 0

    def _errors(self) -> AbstractContextManager[None]:
        return storage_errors()

    def damaged_pages(self) -> list[str]:
        """Return what does not fit its HMAC, one sentence each; nothing without encryption."""
        if not self._is_encrypted:
            return []
        with self._without_transaction() as cursor:  # nothing is written meanwhile
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")  # the check reads the file, not the log
            findings = cursor.execute("PRAGMA cipher_integrity_check").fetchall()
        return [f"The database is damaged: {finding}. Restore the folder from a copy." for (finding,) in findings]

    @contextmanager
    def _without_transaction(self) -> Iterator[Any]:
        """Give a cursor of the writer for statements that cannot run in a transaction."""
        with self.locked(), self._errors():
            connection = self._writer.raw_connection()
            try:
                yield connection.cursor()
            finally:
                connection.close()


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise StorageFull for an error that says that the disk is full."""
    try:
        yield
    except Exception as error:
        if _is_disk_full(error):
            raise StorageFull(
                "The disk with the library's folder is full, so nothing was changed. Free some space there, then try "
                "again."
            ) from error
        raise


def is_damaged(error: DatabaseError) -> bool:
    """Return whether an error says that the database, or an index in it, is damaged."""
    return is_damaged_file(error.orig) or getattr(error.orig, "sqlstate", None) in _POSTGRES_DAMAGED


def is_damaged_file(error: BaseException | None) -> bool:
    """Return whether an error of SQLite or SQLCipher says that a file is damaged, or no database."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the low byte is the primary code


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.orig if isinstance(error, DatabaseError) else error
    return getattr(cause, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def _schema_version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version


def _has_damaged_page(connection: PoolProxiedConnection) -> bool:
    """Return whether an encrypted connection has read a page that does not fit its HMAC."""
    # Another statement each time: its answer becomes a part of the compiled statement, which the connection keeps.
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA cipher_status -- {next(_num_checks)}")
    row = cursor.fetchone()
    cursor.close()
    return row is None or row[0] != "1"


_num_checks = itertools.count()


def _import_sqlcipher() -> Any:
    """Import SQLCipher's DB-API module, a SQLite of its own of 21 MB, which only an encrypted library needs."""
    from sqlcipher3 import dbapi2

    return dbapi2


def _engine(
    path: Path, functions: SqlFunctions, dbapi: Any, key: bytes | None, *, num_connections: int, writes: bool
) -> Engine:
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        module=dbapi,
        hide_parameters=key is not None,  # errors are logged, and parameters hold text
        poolclass=QueuePool,
        pool_size=num_connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_S},
        json_serializer=json_of,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` below says
        if key is not None:
            _unlock(connection, key)
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

    if key is not None:

        @event.listens_for(engine, "handle_error")
        def handle_error(context: ExceptionContext) -> None:
            if context.connection is not None and _has_damaged_page(context.connection.connection):
                context.is_disconnect = True  # it reads nothing but zeros from now on

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def connect_to_file(path: Path, key: bytes | None) -> sqlite3.Connection:
    """Open a database file as it is, with `key` an encrypted one; one that is missing is made."""
    return sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S) if key is None else connect_encrypted(path, key)


def connect_encrypted(path: Path, key: bytes) -> sqlite3.Connection:
    """Open an encrypted database file with SQLCipher; one that is missing is made."""
    connection: sqlite3.Connection = _import_sqlcipher().connect(path, timeout=_BUSY_TIMEOUT_S)
    try:
        _unlock(connection, key)
    except BaseException:
        connection.close()
        raise
    return connection


def _unlock(connection: sqlite3.Connection, key: bytes) -> None:
    connection.execute("PRAGMA cipher_log_level = NONE")  # it would write to stderr what is raised anyway
    connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    if connection.execute("PRAGMA cipher_version").fetchone() is None:
        # Another SQLite takes its place in this process, ignores the key, and would write everything in clear.
        raise RuntimeError("The installed sqlcipher3 does not encrypt.")
