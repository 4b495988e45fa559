import time

import pytest

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded


def in_one_minute() -> float:
    return time.time() + 60


def test_work_goes_on_until_its_deadline() -> None:
    Cancellation(in_one_minute()).check()
    with pytest.raises(DeadlineExceeded, match="3 of 5 frames"):
        Cancellation(time.time() - 0.001).check("3 of 5 frames")


def test_a_cancellation_ends_work() -> None:
    cancellation = Cancellation(in_one_minute())
    cancellation.cancel()
    with pytest.raises(WorkCancelled):
        cancellation.check()
