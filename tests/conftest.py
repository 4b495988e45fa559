from pathlib import Path

import pytest

from config import settings
from config.settings import ENVIRONMENT


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of the developer's shell and `.env` must not decide a test."""
    monkeypatch.setattr(settings, "PROJECT_ROOT", tmp_path)
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
