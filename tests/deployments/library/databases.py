"""Which databases a test runs with; without one of these marks, tests with the fixture `config` run with both."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.library.settings import LibraryConfig

BOTH = ("sqlite", "postgres")
ONLY_SQLITE = pytest.mark.parametrize("config", ["sqlite"], indirect=True)
ONLY_POSTGRES = pytest.mark.parametrize("config", ["postgres"], indirect=True)


def new_library(request: pytest.FixtureRequest, folder: Path) -> LibraryConfig:
    """Return the settings of a new library in the database that the fixture's parameter names, or of one in SQLite with
    the key that it is."""
    url = request.getfixturevalue("postgres_server").new_database() if request.param == "postgres" else ""
    key = request.param if isinstance(request.param, SecretStr) else None
    return LibraryConfig(folder=folder, database_url=SecretStr(url), encryption_key=key)
