"""The Postgres database: its connections, the lock that one process has on it, and what its errors mean.

A transaction is on the server's disk when it is committed (`synchronous_commit`). A connection that was lost is made
anew for the next call.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import Connection as PsycopgConnection
from psycopg.types.string import StrDumper
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from deployments.errors import ModelNotLoaded, ServerBusy, ServiceError, StorageFull
from deployments.library.database import MAX_READERS, Database, json_of, storage_errors
from deployments.library.postgres.words import WORD_TABLES
from deployments.library.tables import Table

LOCK_KEY = int.from_bytes(b"prism")
"""Of the advisory lock; one library in each database."""

_RELOCK_WAIT_S = 5.0
"""After a lost connection: the server may still have the old one, with the lock."""
_RELEASE_S = 2.0
"""A library that was closed a moment ago: the server notices the end of a connection a little later."""
_POLL_S = 0.1
_CONNECT_TIMEOUT_S = 10
_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""So that a machine that is gone is noticed within about a minute, by us and by the server."""

_BUSY = (
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "53200",  # out_of_memory
    "53300",  # too_many_connections
    "55P03",  # lock_not_available
    "57014",  # query_canceled
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
)
_DISK_FULL = "53100"
_NOT_USABLE = (
    "0A000",  # feature_not_supported: the extension is not installed on the server
    "25006",  # read_only_sql_transaction
    "42501",  # insufficient_privilege
    "42704",  # undefined_object: the type halfvec
    "58P01",  # undefined_file: of an extension
)


class PostgresDatabase(Database):
    """Its writer holds an advisory lock on the database while it is connected, so whoever writes has the lock."""

    def __init__(self, url: str, lock_wait_s: float) -> None:
        target = make_url(url)
        host = target.host or target.query.get("host", "this machine")
        name = self.name = f"the database {target.database or target.username} on {host}"  # without the password
        self._lock_wait_s = lock_wait_s
        super().__init__(name, self._engine(url, num_connections=1), self._engine(url, num_connections=MAX_READERS))
        self._lock_wait_s = _RELOCK_WAIT_S

    def checkpoint(self) -> bool:
        """Nothing is to be done: the server keeps what is committed, and `pg_dump` copies it."""
        return True

    def shrink(self) -> None:
        """Let new rows take the place of deleted ones. Readers' connections, so that changes need not wait."""
        tables = ", ".join([*Table.metadata.tables, *WORD_TABLES])
        with self._errors(), self._readers.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"VACUUM (ANALYZE) {tables}")

    def problems(self, session: Session) -> Iterator[str]:
        """Nothing is asked: the server checks each page that it reads, if its checksums are on."""
        return iter(())

    def bytes_elsewhere(self, session: Session) -> int:
        size = session.connection().exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
        return int(size)

    def _engine(self, url: str, *, num_connections: int) -> Engine:
        writes = num_connections == 1
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=num_connections,
            max_overflow=0,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
            connect_args={"connect_timeout": _CONNECT_TIMEOUT_S, **_ALIVE},
            json_serializer=json_of,
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: PsycopgConnection[Any], _: object) -> None:
            try:
                self._prepare(connection, writes)
            except BaseException:
                connection.close()
                raise

        return engine

    def _prepare(self, connection: PsycopgConnection[Any], writes: bool) -> None:
        connection.autocommit = True
        if writes:
            self._check_encoding(connection)
            self._take_lock(connection)
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        else:
            connection.execute("SET default_transaction_read_only = on")
        register_vector(connection)
        connection.adapters.register_dumper(str, _TextDumper)
        connection.execute("SET jit = off")  # it costs more than it saves in queries this short
        connection.autocommit = False

    def _check_encoding(self, connection: PsycopgConnection[Any]) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise ModelNotLoaded(f"The encoding of {self.name} is {encoding}. Make one with ENCODING 'UTF8'.")

    def _take_lock(self, connection: PsycopgConnection[Any]) -> None:
        holder = f"prism, process {os.getpid()} on {socket.gethostname()}"
        connection.execute("SELECT set_config('application_name', %s, false)", (holder[:63],))
        for name in ("idle", "interval", "count"):
            value = _ALIVE[f"keepalives_{name}"]
            connection.execute(f"SET tcp_keepalives_{name} = {value}")
        [synchronous] = connection.execute("SHOW synchronous_commit").fetchone() or ("off",)
        if synchronous == "off":
            connection.execute("SET synchronous_commit = on")
        give_up_at = time.monotonic() + max(self._lock_wait_s, _RELEASE_S)
        while not _is_true(connection, "SELECT pg_try_advisory_lock(%s)", LOCK_KEY):
            if time.monotonic() >= give_up_at:
                raise ModelNotLoaded(
                    f"The library in {self.name} is in use by {_holder(connection)}. Stop that one, or choose another "
                    "database."
                )
            time.sleep(_POLL_S)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with storage_errors():
                yield
        except (DBAPIError, psycopg.Error) as error:  # the second while a connection is made
            is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
            meaning = self._meaning(error.orig if isinstance(error, DBAPIError) else error, is_lost)
            if meaning is None:
                raise
            raise meaning from error

    def _errors(self) -> AbstractContextManager[None]:
        return self._translated()

    def _meaning(self, error: BaseException | None, is_lost: bool) -> ServiceError | None:
        """Return what a server's error is to a client; None for one of ours."""
        code = getattr(error, "sqlstate", None)
        if code == _DISK_FULL:
            return StorageFull(
                f"The disk of {self.name} is full, so nothing was changed. Free some space there, then try again."
            )
        if code in _NOT_USABLE:
            return ModelNotLoaded(
                f"The library cannot use {self.name}: {_first_line(error)}. It needs a database that it may "
                "write, and pgvector 0.7 or newer on the server (CREATE EXTENSION vector)."
            )
        if code in _BUSY or is_lost:
            return ServerBusy(
                f"{self.name[0].upper()}{self.name[1:]} did not finish this call ({_first_line(error)}); try "
                "again later."
            )
        if isinstance(error, psycopg.OperationalError):
            return ModelNotLoaded(
                f"The library needs {self.name}, which cannot be reached: {_first_line(error)}. Start the server, or "
                "correct DATABASE_URL."
            )
        return None


class _TextDumper(StrDumper):
    """Text without NUL, which Postgres cannot hold."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\x00", "\N{REPLACEMENT CHARACTER}"))


def _is_true(connection: PsycopgConnection[Any], query: str, *parameters: object) -> bool:
    [value] = connection.execute(query, parameters).fetchone() or (False,)
    return bool(value)


def _holder(connection: PsycopgConnection[Any]) -> str:
    """Return who has the lock."""
    row = connection.execute(
        "SELECT application_name, client_addr, backend_start FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s "
        "AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (LOCK_KEY >> 32, LOCK_KEY & 0xFFFFFFFF),
    ).fetchone()
    if row is None:  # it has just ended
        return "another process"
    name, address, since = row
    return f"{name}{f' ({address})' if address else ''}, since {since.isoformat('T', 'seconds')}"


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
