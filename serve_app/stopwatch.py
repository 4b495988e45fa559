"""Measures how long work takes, for `processing_time_ms`."""

import time


class Stopwatch:
    """Starts when it is constructed."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def milliseconds(self) -> int:
        return round((time.monotonic() - self._start_s) * 1000)
