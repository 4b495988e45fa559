"""Compares our implementation of Ray's rules with Ray's own, which is private."""

import json
from pathlib import Path

import pytest
from ray._common.usage import usage_lib

from serve_app.usage_stats import usage_stats_enabled


@pytest.mark.parametrize("variable", [None, "0", "1"])
@pytest.mark.parametrize("settings", [None, {}, {"usage_stats": True}, {"usage_stats": False}])
def test_the_result_is_the_same_as_rays_own(
    variable: str | None, settings: dict[str, bool] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", variable)
    if settings is not None:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "config.json").write_text(json.dumps(settings))
    assert usage_stats_enabled() == usage_lib.usage_stats_enabled()
    assert usage_stats_enabled() == (variable == "1" or (variable is None and settings != {"usage_stats": False}))
