"""The library's process is killed at random moments (tests/kills)."""

import subprocess
import sys
from pathlib import Path


def test_twenty_kills_lose_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.kills", "--kills", "20", "--seed", "7"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("20 kills")
