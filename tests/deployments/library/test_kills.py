"""The library's process is killed at random moments (tests/kills)."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "options",
    [["--kills", "20"], pytest.param(["--kills", "5", "--encrypted"], marks=pytest.mark.slow)],
    ids=["plain", "encrypted"],
)
def test_kills_lose_nothing(options: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.kills", *options, "--seed", "7"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith(f"{options[1]} kills")
