import asyncio
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded
from deployments.worker_threads import WorkerThreads


def in_one_minute() -> float:
    return time.time() + 60


async def _run_cancelled_work() -> list[str]:
    """Cancel a running piece of work and ask for another; return what happened in which order."""
    events: list[str] = []
    started, may_end = threading.Event(), threading.Event()
    workers = WorkerThreads("test", 1)

    def stubborn(cancellation: Cancellation) -> None:
        started.set()
        while True:
            try:
                cancellation.check()
            except WorkCancelled:
                break
            time.sleep(0.001)
        events.append("cancelled")
        may_end.wait(5)
        events.append("ended")

    first = asyncio.create_task(workers.run(stubborn, in_one_minute()))
    await asyncio.to_thread(started.wait, 5)
    first.cancel()
    second = asyncio.create_task(workers.run(lambda cancellation: events.append("second"), in_one_minute()))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0.05)
    may_end.set()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    return events


def test_a_cancelled_slot_is_free_only_when_its_thread_has_ended() -> None:
    assert asyncio.run(_run_cancelled_work()) == ["cancelled", "ended", "second"]


def test_the_error_of_the_work_is_the_error_of_the_call() -> None:
    def fail(cancellation: Cancellation) -> None:
        raise ValueError("broken")

    async def run() -> None:
        await WorkerThreads("test", 1).run(fail, in_one_minute())

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run())


def test_no_more_threads_work_than_allowed() -> None:
    active: list[int] = []
    peak: list[int] = []

    def work(cancellation: Cancellation) -> None:
        active.append(1)
        peak.append(len(active))
        time.sleep(0.01)
        active.pop()

    async def run() -> None:
        workers = WorkerThreads("test", 2)
        await asyncio.gather(*(workers.run(work, in_one_minute()) for _ in range(8)))

    asyncio.run(run())
    assert max(peak) == 2


def test_parts_arrive_while_the_work_goes_on() -> None:
    async def run() -> list[int]:
        may_go_on = threading.Event()
        arrived = []

        def work(cancellation: Cancellation, send: Callable[[int], None]) -> None:
            send(1)
            assert may_go_on.wait(5)
            send(2)

        async for part in WorkerThreads("test").stream(work, in_one_minute()):
            arrived.append(part)
            may_go_on.set()
        return arrived

    assert asyncio.run(run()) == [1, 2]


def test_an_error_follows_the_parts_before_it_and_closing_cancels_the_work() -> None:
    async def run() -> None:
        workers = WorkerThreads("test")

        def fail(cancellation: Cancellation, send: Callable[[int], None]) -> None:
            send(1)
            raise ValueError("broken")

        parts = workers.stream(fail, in_one_minute())
        assert await anext(parts) == 1
        with pytest.raises(ValueError, match="broken"):
            await anext(parts)

        ended = threading.Event()

        def endless(cancellation: Cancellation, send: Callable[[int], None]) -> None:
            send(1)
            while not cancellation.is_cancelled:
                time.sleep(0.001)
            ended.set()

        parts = workers.stream(endless, in_one_minute())
        await anext(parts)
        await parts.aclose()
        assert ended.is_set()

    asyncio.run(run())


def test_work_that_waited_past_its_deadline_is_not_begun() -> None:
    async def run() -> None:
        await WorkerThreads("test", 1).run(lambda cancellation: None, time.time() - 1)

    with pytest.raises(DeadlineExceeded, match="waiting"):
        asyncio.run(run())


def _while_late_work_runs(late_s: float, ask: Callable[[WorkerThreads], Any]) -> Any:
    """Return what `ask` returns while work runs whose deadline passed `late_s` seconds ago."""

    async def run() -> Any:
        workers = WorkerThreads("test", 2)
        started, may_end = threading.Event(), threading.Event()

        def hang(cancellation: Cancellation) -> None:
            cancellation.deadline -= late_s + 60
            started.set()
            may_end.wait(5)

        task = asyncio.create_task(workers.run(hang, in_one_minute()))
        await asyncio.to_thread(started.wait, 5)
        try:
            return ask(workers)
        finally:
            may_end.set()
            await task
            assert workers.overdue_s() == 0

    return asyncio.run(run())


def test_overdue_work_is_noticed() -> None:
    assert _while_late_work_runs(20, WorkerThreads.overdue_s) == pytest.approx(20, abs=1)
    assert _while_late_work_runs(-20, WorkerThreads.overdue_s) == 0


def test_overdue_work_is_named_before_its_replica_is_replaced() -> None:
    assert _while_late_work_runs(2, WorkerThreads.overdue_detail) == ""
    assert re.match(
        r"A call has run for \d\d s after its deadline", _while_late_work_runs(20, WorkerThreads.overdue_detail)
    )


def test_a_replica_is_healthy_until_work_is_overdue_by_30_seconds() -> None:
    _while_late_work_runs(20, WorkerThreads.check_health)
    with pytest.raises(RuntimeError, match="4. s after its deadline"):
        _while_late_work_runs(40, WorkerThreads.check_health)


def test_a_cancelled_call_that_goes_on_is_overdue_too() -> None:
    async def run() -> None:
        workers = WorkerThreads("test", 1)
        started, may_end = threading.Event(), threading.Event()

        def hang(cancellation: Cancellation) -> None:
            cancellation.deadline = time.time() - 40
            started.set()
            may_end.wait(5)

        task = asyncio.create_task(workers.run(hang, in_one_minute()))
        await asyncio.to_thread(started.wait, 5)
        task.cancel()
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError):
            workers.check_health()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_idle_threads_give_freed_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[float] = []
    monkeypatch.setattr("deployments.worker_threads._TRIM_AFTER_S", 0.2)
    monkeypatch.setattr("deployments.worker_threads.trim_freed_memory", lambda: trimmed.append(time.monotonic()))

    async def run() -> float:
        workers = WorkerThreads("test", 1)
        for _ in range(4):
            await workers.run(lambda cancellation: time.sleep(0.1), in_one_minute())
        await workers.run(lambda cancellation: time.sleep(0.4), in_one_minute())
        ended = time.monotonic()
        await asyncio.sleep(0.6)
        return ended

    ended = asyncio.run(run())
    [moment] = trimmed  # once, and not while there was work
    assert moment >= ended + 0.19
