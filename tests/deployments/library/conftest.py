import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.cancellation import Cancellation
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from tests.deployments.library.postgres_server import PostgresServer, running_postgres

BOTH = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real server, started by the first test that needs it."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=BOTH)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> LibraryConfig:
    """The settings of a new library, once in SQLite and once in Postgres."""
    database_url = ""
    if request.param == "postgres":
        database_url = request.getfixturevalue("postgres_server").new_database()
    return LibraryConfig(folder=tmp_path / "library", database_url=database_url)


@pytest.fixture
def library(config: LibraryConfig) -> Iterator[Library]:
    library = Library(config)
    yield library
    library.close()


@pytest.fixture
def cancellation() -> Cancellation:
    return Cancellation(time.time() + 60)
