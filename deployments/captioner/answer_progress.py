"""How far the answer about an image is: what has been read of the image, then the text so far."""

import time
from collections.abc import Callable, Sequence

from deployments.captioner.moondream import CheckCancelled
from deployments.captioner.types import CaptionProgress

SendProgress = Callable[[CaptionProgress], None]

PERIOD_S = 0.05
"""Progress is sent at most so often: small models write a token in a millisecond."""


class AnswerProgress:
    """Sends the progress of one answer; the first word at once."""

    def __init__(self, send: SendProgress, num_layers: int, to_text: Callable[[Sequence[int]], str]) -> None:
        """`num_layers` are worked through before the first token; `to_text` decodes token ids."""
        self._send = send
        self._num_layers = num_layers
        self._to_text = to_text
        self._num_done = 0
        self._has_text = False
        self._next_at = 0.0

    def counting(self, check_cancelled: CheckCancelled) -> CheckCancelled:
        """Return a `check_cancelled` that counts the layers: the model calls it before each."""

        def check_and_count(progress: str) -> None:
            check_cancelled(progress)
            if not self._has_text and self._is_due():
                self._send(CaptionProgress(min(self._num_done / self._num_layers, 1.0)))
            self._num_done += 1

        return check_and_count

    def write(self, ids: Sequence[int]) -> None:
        """Count what has been generated so far."""
        if (not self._has_text or self._is_due()) and (text := self._to_text(ids)):
            self._has_text = True
            self._send(CaptionProgress(1.0, text))

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + PERIOD_S
        return True
