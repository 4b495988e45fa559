import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deployments.errors import RateLimited, ServerBusy
from deployments.units import MEGABYTE
from serve_app import admission as admission_module
from serve_app.admission import (
    HOUR_S,
    MAX_ADDRESSES,
    MAX_EXPECTED_CLIENTS,
    MAX_RETRY_AFTER_S,
    SLOW_AFTER_S,
    Admission,
    AdmittedRequest,
    RateLimit,
)
from serve_app.settings import ServingConfig

LARGE = 1000


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def make(free_mb: float = 8000, clock: Clock | None = None, typical_s: float = 1, **serving: Any) -> Admission:
    return Admission(
        ServingConfig(**serving),
        large_body_bytes=LARGE,
        available_memory_mb=lambda: free_mb,
        typical_s=typical_s,
        clock=clock or Clock(),
    )


def admit(admission: Admission, kind: str = "image", address: str = "a", timeout_s: float = 60) -> Any:
    return admission.admit(address, kind, time.time() + timeout_s)


@contextmanager
def queued(admission: Admission, kind: str = "image", timeout_s: float = 60) -> Iterator[AdmittedRequest]:
    """A request whose body has arrived."""
    with admit(admission, kind, timeout_s=timeout_s) as admitted:
        admitted.enqueue()
        yield admitted


def test_one_more_than_work_and_queue_hold_is_refused_until_one_leaves() -> None:
    admission = make(max_concurrent_requests=1, max_queued_requests=1)
    with queued(admission):
        with queued(admission):
            with pytest.raises(ServerBusy, match="queue is full"), admit(admission):
                pass
        with queued(admission):
            pass


def test_a_body_that_is_still_arriving_takes_no_place_in_the_queue() -> None:
    admission = make(max_concurrent_requests=1, max_queued_requests=0)
    with admit(admission) as slow, queued(admission):
        with pytest.raises(ServerBusy, match="queue is full"):
            slow.enqueue()


def test_a_slow_sender_makes_room_when_the_places_for_uploads_run_out() -> None:
    clock = Clock()
    admission = make(clock=clock, max_uploads=2)
    evicted = []
    with admit(admission) as fast, admit(admission) as slow:
        clock.now += 0.9 * SLOW_AFTER_S
        with pytest.raises(ServerBusy, match="receiving 2 uploads"), admit(admission):
            pass
        clock.now += 3
        fast.has_received(5 * MEGABYTE)
        slow.has_received(100)
        with slow.evictable(lambda: evicted.append("slow")), admit(admission):
            assert evicted == ["slow"]
            with pytest.raises(ServerBusy, match="too slow"):
                slow.raise_eviction()
            fast.raise_eviction()


def test_a_slow_sender_makes_room_for_another_large_body() -> None:
    clock = Clock()
    admission = make(clock=clock, max_large_uploads=1)
    with admit(admission) as slow, admit(admission) as other:
        slow.will_hold(100 * MEGABYTE)
        slow.has_received(MEGABYTE)
        with pytest.raises(ServerBusy, match="1 large uploads"):
            other.will_hold(LARGE + 1)
        clock.now += 5  # at a megabyte in five seconds, 100 would take eight minutes
        other.will_hold(LARGE + 1)
        with pytest.raises(ServerBusy, match="too slow"):
            slow.raise_eviction()


def test_a_large_body_that_will_arrive_in_time_keeps_its_place() -> None:
    clock = Clock()
    admission = make(clock=clock, max_large_uploads=1)
    with admit(admission) as steady, admit(admission) as other:
        steady.will_hold(100 * MEGABYTE)
        clock.now += 5
        steady.has_received(20 * MEGABYTE)
        with pytest.raises(ServerBusy, match="1 large uploads"):
            other.will_hold(LARGE + 1)
        steady.raise_eviction()


def test_the_memory_for_arriving_bodies_is_bounded() -> None:
    clock = Clock()
    admission = Admission(
        ServingConfig(upload_memory_mb=1),
        large_body_bytes=MEGABYTE,
        available_memory_mb=lambda: 8000,
        clock=clock,
    )
    half = MEGABYTE // 2
    with admit(admission) as first, admit(admission) as second, admit(admission) as third:
        first.has_received(half)
        second.has_received(half)
        with pytest.raises(ServerBusy, match="1 MB of uploads in memory"):
            third.has_received(half)
        clock.now += 60
        third.has_received(half)  # now the others are slow
        with pytest.raises(ServerBusy, match="too slow"):
            first.raise_eviction()
        second.enqueue()


def test_an_error_frees_the_slot() -> None:
    admission = make(max_concurrent_requests=1, max_queued_requests=0)

    def fail() -> None:
        with admit(admission) as admitted:
            admitted.will_hold(LARGE + 1)
            raise ValueError("ours")

    for _ in range(3):
        with pytest.raises(ValueError, match="ours"):
            fail()


def test_large_uploads_are_bounded_and_small_ones_are_not() -> None:
    admission = make(max_large_uploads=1)
    with admit(admission) as first, admit(admission) as second:
        first.will_hold(LARGE + 1)
        first.will_hold(LARGE + 2)
        second.will_hold(LARGE)
        with pytest.raises(ServerBusy, match="1 large uploads"):
            second.will_hold(LARGE + 1)
    with admit(admission) as third:
        third.will_hold(LARGE + 1)


def test_too_little_free_memory_refuses_and_names_the_figures() -> None:
    with pytest.raises(ServerBusy, match=r"Only 100 MB.*512 MB"), admit(make(free_mb=100)):
        pass
    with admit(make(free_mb=100, min_free_memory_mb=0)):
        pass


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
    with queued(admission):
        for _ in range(5):
            with pytest.raises(ServerBusy), admit(admission):
                pass
    with admit(admission):
        pass
    with pytest.raises(RateLimited), admit(admission):
        pass


def work(admission: Admission, clock: Clock, kind: str, seconds: float, num_requests: int = 1) -> None:
    """Have requests of a kind worked on for that many seconds each."""

    async def scenario() -> None:
        for _ in range(num_requests):
            with queued(admission, kind) as request:
                deadline = time.time() + 60
                async with admission.scheduler.analysis(request.client, "short", deadline) as steps:
                    async with steps.step("Captioner", deadline):
                        clock.now += seconds

    asyncio.run(scenario())


def retry_after(admission: Admission) -> int:
    with pytest.raises(ServerBusy) as caught, admit(admission):
        pass
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


def test_refused_clients_are_told_to_come_when_work_will_be_done_one_after_another() -> None:
    clock = Clock()
    admission = make(clock=clock, max_concurrent_requests=1, max_queued_requests=0)
    work(admission, clock, "image", 4.0, num_requests=30)
    with queued(admission):
        times = [retry_after(admission) for _ in range(4)]
    assert times == pytest.approx([4 * 1.1 * number + 1 for number in range(1, 5)], abs=1.5)


def test_the_time_to_wait_follows_what_was_measured_for_each_kind() -> None:
    clock = Clock()
    admission = make(clock=clock, max_concurrent_requests=1, max_queued_requests=0)
    work(admission, clock, "image", 0.1, num_requests=20)
    work(admission, clock, "video", 30.0, num_requests=30)
    with queued(admission, "image"):
        assert retry_after(admission) == 1
    admission = make(clock=clock, max_concurrent_requests=1, max_queued_requests=0)
    work(admission, clock, "video", 30.0, num_requests=30)
    with queued(admission, "video"):
        assert 30 <= retry_after(admission) <= 50


def test_the_time_to_wait_is_at_most_that_to_the_next_deadline() -> None:
    clock = Clock()
    admission = make(clock=clock, max_concurrent_requests=1, max_queued_requests=0, typical_s=100)
    with queued(admission, timeout_s=10):
        assert retry_after(admission) <= 10 + 0.25 * 100 + 1


def test_a_client_that_keeps_coming_makes_no_refusal_slower_and_no_wait_endless() -> None:
    clock = Clock()
    admission = make(clock=clock, max_concurrent_requests=1, max_queued_requests=0, typical_s=20)
    with queued(admission):
        times = [retry_after(admission) for _ in range(3 * MAX_EXPECTED_CLIENTS)]
    assert max(times) == MAX_RETRY_AFTER_S
    assert len(admission._retries._due) == MAX_EXPECTED_CLIENTS
    clock.now += MAX_RETRY_AFTER_S + 2
    with queued(admission):
        assert retry_after(admission) < 60  # nobody is expected any more


def test_of_sixty_clients_that_come_when_told_nearly_all_get_in_at_once() -> None:
    """A simulation: the machine serves one request after another, and each takes longer or shorter than measured."""
    for seconds in (0.08, 0.1, 0.12):
        clock = Clock()
        admission = make(clock=clock)
        work(admission, clock, "image", 0.1, num_requests=30)
        start, arrivals = clock.now, [(clock.now, number, 0) for number in range(60)]
        in_queue: list[Any] = []
        tries: dict[int, int] = {}
        busy_until = clock.now
        while arrivals or in_queue:
            arrivals.sort()
            if in_queue and (not arrivals or busy_until <= arrivals[0][0]):
                clock.now = max(clock.now, busy_until)
                in_queue.pop(0).__exit__(None, None, None)
                busy_until = clock.now + seconds
                continue
            clock.now, number, retries = arrivals.pop(0)
            request = queued(admission)
            try:
                request.__enter__()
            except ServerBusy as error:
                arrivals.append((clock.now + (error.retry_after_s or 0), number, retries + 1))
            else:
                tries[number] = retries
                if not in_queue:
                    busy_until = clock.now + seconds
                in_queue.append(request)
        assert sum(number <= 1 for number in tries.values()) >= 54
        assert clock.now - start <= 1.5 * 60 * seconds


def test_background_work_waits_until_no_request_is_worked_on() -> None:
    async def scenario() -> None:
        admission = make()
        await asyncio.wait_for(admission.wait_until_idle(), 1)
        with queued(admission), queued(admission):
            waiting = asyncio.create_task(admission.wait_until_idle())
            await asyncio.sleep(0.05)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


def test_background_work_is_not_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "MAX_BACKGROUND_WAIT_S", 0.1)

    async def scenario() -> None:
        admission = make()
        with queued(admission):
            await asyncio.wait_for(admission.wait_until_idle(), 1)

    asyncio.run(scenario())


def test_uploads_that_are_arriving_do_not_stop_background_work() -> None:
    async def scenario() -> None:
        admission = make()
        with admit(admission):
            await asyncio.wait_for(admission.wait_until_idle(), 1)

    asyncio.run(scenario())
