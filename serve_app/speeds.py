"""How fast this machine does each kind of work, kept across restarts: says how long an analysis will still take."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from deployments.log import logger

FILE_NAME = "speeds.json"
"""In the folder of the models' weights."""
SMOOTHING = 0.3
"""Weight of the last measurement in the moving average."""
WRITE_PERIOD_S = 10.0
"""The file is written at most so often, but at once for a new kind of work. What that loses is measured again."""


class Speeds:
    """Moving averages of seconds per unit of work, by the name of the work."""

    def __init__(self, file: Path | None) -> None:
        """`file` is read now and written as speeds are measured; with None they are only kept in memory."""
        self._file = file
        self._written_at = -WRITE_PERIOD_S
        self._seconds_per_unit = {} if file is None else _read(file)

    def seconds(self, work: str, units: float) -> float | None:
        """Return the seconds that so much work is expected to take; None if it has never been measured."""
        seconds_per_unit = self._seconds_per_unit.get(work)
        return None if seconds_per_unit is None else seconds_per_unit * units

    def add(self, measurements: Iterable[tuple[str, float, float]]) -> None:
        """Count the measurements of an analysis: for each kind of work its name, units (positive) and seconds."""
        has_news = False
        for work, units, seconds in measurements:
            measured = seconds / units
            has_news |= work not in self._seconds_per_unit
            average = self._seconds_per_unit.get(work, measured)
            self._seconds_per_unit[work] = average + SMOOTHING * (measured - average)
        is_due = time.monotonic() >= self._written_at + WRITE_PERIOD_S
        if self._file is not None and (has_news or is_due):
            self._written_at = time.monotonic()
            _write(self._file, self._seconds_per_unit)


def _read(file: Path) -> dict[str, float]:
    try:
        content = json.loads(file.read_text())
        return {str(work): float(seconds) for work, seconds in content.items() if float(seconds) > 0}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logger.warning("%s cannot be read, so speeds are measured anew: %s", file, error)
        return {}


def _write(file: Path, content: dict[str, float]) -> None:
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=2, sort_keys=True))
        part.replace(file)
    except OSError as error:
        logger.warning("Speeds cannot be kept in %s: %s", file, error)
