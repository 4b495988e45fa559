"""Finds out whether Ray sends usage statistics, by the rules in its documentation ("Usage Stats Collection")."""

import json
import os
from pathlib import Path


def usage_stats_enabled() -> bool:
    """Return whether they are on. The environment wins over Ray's own settings file; by default they are on."""
    variable = os.environ.get("RAY_USAGE_STATS_ENABLED")
    if variable in ("0", "1"):
        return variable == "1"
    try:
        settings = json.loads(_settings_path().read_text())
    except (OSError, ValueError):
        return True
    return not isinstance(settings, dict) or settings.get("usage_stats") is not False


def _settings_path() -> Path:
    return Path(os.environ.get("RAY_USAGE_STATS_CONFIG_PATH") or Path.home() / ".ray" / "config.json")
