import pytest

from config.settings import ENVIRONMENT


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the developer's shell must not decide a test."""
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
