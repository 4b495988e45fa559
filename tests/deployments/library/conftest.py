import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.cancellation import Cancellation
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from tests.deployments.library.databases import BOTH, new_library


@pytest.fixture(params=BOTH)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> LibraryConfig:
    """The settings of a new library, once in SQLite and once in Postgres."""
    return new_library(request, tmp_path / "library")


@pytest.fixture
def library(config: LibraryConfig) -> Iterator[Library]:
    library = Library(config)
    yield library
    library.close()


@pytest.fixture
def cancellation() -> Cancellation:
    return Cancellation(time.time() + 60)
