"""How long work takes, for `processing_time_ms`."""

import time


class Stopwatch:
    """Started when it is made."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def milliseconds(self) -> int:
        return round((time.monotonic() - self._start_s) * 1000)
