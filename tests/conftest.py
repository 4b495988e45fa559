from pathlib import Path

import pytest

from serve_app import settings
from serve_app.settings import ENVIRONMENT_VARIABLES


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of the developer's shell and `.env` must not decide a test."""
    monkeypatch.setattr(settings, "env_file", lambda: tmp_path / ".env")
    for variable in ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
