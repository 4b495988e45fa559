import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.cancellation import Cancellation
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig


@pytest.fixture
def config(tmp_path: Path, request: pytest.FixtureRequest) -> LibraryConfig:
    """Of a library without encryption, unless the test gives a key (`with_and_without_key`)."""
    return LibraryConfig(folder=tmp_path / "library", encryption_key=getattr(request, "param", None))


@pytest.fixture
def library(config: LibraryConfig) -> Iterator[Library]:
    library = Library(config)
    yield library
    library.close()


@pytest.fixture
def cancellation() -> Cancellation:
    return Cancellation(time.time() + 60)
