"""The library's process is killed at random moments (tests/kills)."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "database", [[], pytest.param(["--postgres"], marks=pytest.mark.slow)], ids=["sqlite", "postgres"]
)
def test_twenty_kills_lose_nothing(database: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.kills", "--kills", "20", "--seed", "7", *database],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("20 kills")
