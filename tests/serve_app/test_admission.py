import asyncio
import time
from typing import Any

import pytest

from deployments.errors import DeadlineExceeded, RateLimited, ServerBusy
from serve_app.admission import HOUR_S, MAX_ADDRESSES, Admission, RateLimit
from serve_app.settings import ServingConfig

LARGE = 1000


def make(free_mb: float = 8000, **serving: Any) -> Admission:
    return Admission(ServingConfig(**serving), large_body_bytes=LARGE, available_memory_mb=lambda: free_mb)


def test_one_more_than_work_and_queue_hold_is_refused_until_one_leaves() -> None:
    admission = make(max_concurrent_requests=1, max_queued_requests=1)
    with admission.admit("a"):
        with admission.admit("b"):
            with pytest.raises(ServerBusy, match="queue is full"), admission.admit("c"):
                pass
        with admission.admit("c"):
            pass


def test_an_error_frees_the_slot() -> None:
    admission = make(max_concurrent_requests=1, max_queued_requests=0)

    def fail() -> None:
        with admission.admit("a") as admitted:
            admitted.will_hold(LARGE + 1)
            raise ValueError("ours")

    for _ in range(3):
        with pytest.raises(ValueError, match="ours"):
            fail()


def test_large_uploads_are_bounded_and_small_ones_are_not() -> None:
    admission = make(max_large_uploads=1)
    with admission.admit("a") as first, admission.admit("a") as second:
        first.will_hold(LARGE + 1)
        first.will_hold(LARGE + 2)
        second.will_hold(LARGE)
        with pytest.raises(ServerBusy, match="1 large uploads"):
            second.will_hold(LARGE + 1)
    with admission.admit("a") as third:
        third.will_hold(LARGE + 1)


def test_too_little_free_memory_refuses_and_names_the_figures() -> None:
    with pytest.raises(ServerBusy, match=r"Only 100 MB.*512 MB"), make(free_mb=100).admit("a"):
        pass
    with make(free_mb=100, min_free_memory_mb=0).admit("a"):
        pass


def test_work_slots_are_given_in_order_and_bounded() -> None:
    async def scenario() -> None:
        admission = make(max_concurrent_requests=2)
        running, order, peak = 0, [], 0

        async def work(number: int) -> None:
            nonlocal running, peak
            async with admission.work_slot(time.time() + 5):
                running += 1
                peak = max(peak, running)
                order.append(number)
                await asyncio.sleep(0.01)
                running -= 1

        await asyncio.gather(*(work(number) for number in range(6)))
        assert peak == 2
        assert order == list(range(6))

    asyncio.run(scenario())


def test_waiting_for_a_slot_ends_at_the_deadline() -> None:
    async def scenario() -> None:
        admission = make(max_concurrent_requests=1)
        async with admission.work_slot(time.time() + 5):
            with pytest.raises(DeadlineExceeded, match="waiting for its turn"):
                async with admission.work_slot(time.time() + 0.05):
                    pass
        with pytest.raises(DeadlineExceeded, match="waiting for its turn"):
            async with admission.work_slot(time.time() - 1):
                pass

    asyncio.run(scenario())


def test_cancelled_waiting_and_cancelled_work_free_their_slots() -> None:
    async def scenario() -> None:
        admission = make(max_concurrent_requests=1)

        async def hold() -> None:
            async with admission.work_slot(time.time() + 5):
                await asyncio.sleep(5)

        holder, waiter = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0.01)
        for task in (waiter, holder):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with admission.work_slot(time.time() + 0.1):
            pass

    asyncio.run(scenario())


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_limit_holds_for_any_hour_and_says_when_to_retry() -> None:
    clock = Clock()
    limit = RateLimit(2, clock)
    limit.count("a")
    clock.now += 600
    limit.count("a")
    for _ in range(2):
        with pytest.raises(RateLimited) as caught:
            limit.count("a")
        assert caught.value.retry_after_s == HOUR_S - 600
    limit.count("b")
    clock.now += HOUR_S - 600
    limit.count("a")
    with pytest.raises(RateLimited) as caught:
        limit.count("a")
    assert caught.value.retry_after_s == 600


def test_the_rate_limit_remembers_a_bounded_number_of_addresses() -> None:
    limit = RateLimit(1, Clock())
    for number in range(3 * MAX_ADDRESSES):
        limit.count(str(number))
    assert len(limit._times) == MAX_ADDRESSES


def test_a_refused_request_does_not_count_against_the_rate() -> None:
    admission = make(max_concurrent_requests=1, max_queued_requests=0, requests_per_hour=2)
    with admission.admit("a"):
        for _ in range(5):
            with pytest.raises(ServerBusy), admission.admit("a"):
                pass
    with admission.admit("a"):
        pass
    with pytest.raises(RateLimited), admission.admit("a"):
        pass
