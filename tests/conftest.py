import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from PIL import Image

from deployments.embedder.settings import EmbedderConfig
from deployments.embedder.weights import ensure_minilm
from deployments.errors import ModelNotLoaded
from deployments.settings import WeightsConfig
from serve_app import settings
from serve_app.settings import ENVIRONMENT_VARIABLES
from tests.postgres_server import PostgresServer, running_postgres

# The same examples in every run, however slow the machine is.
hypothesis_settings.register_profile("project", deadline=None, derandomize=True, database=None)
hypothesis_settings.load_profile("project")
MODEL_CACHE = Path(os.environ.get("MODEL_CACHE_DIR") or WeightsConfig().cache_dir)
"""The cache of this machine; read before the tests hide the developer's environment from each other."""


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """This machine's cache of weights, with the real embedder in it; the first run fetches its 84 MB."""
    try:
        ensure_minilm(EmbedderConfig(), MODEL_CACHE, lambda line: None)
    except ModelNotLoaded as error:
        pytest.fail(f"These tests need the real embedder in {MODEL_CACHE}. {error}", pytrace=False)
    return MODEL_CACHE


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real server, started by the first test that needs it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of the developer's shell and `.env` must not decide a test."""
    monkeypatch.setattr(settings, "env_file", lambda: tmp_path / ".env")
    for variable in ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def _pillows_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding sets the limit for its whole process; here that is the process of all tests."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
