import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from deployments.errors import DeadlineExceeded
from serve_app.scheduling import Client, Length, Scheduler


class Work:
    """Analyses whose steps the test ends one by one."""

    def __init__(self, max_concurrent: int = 2) -> None:
        self.scheduler = Scheduler(max_concurrent)
        self.running: list[str] = []
        """Names of the running steps, in the order in which they began."""
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def start(
        self, name: str, length: Length, steps: int = 1, lane: str = "Captioner", client: Client | None = None
    ) -> None:
        self.tasks.append(
            asyncio.create_task(self._analyze(name, length, steps, lane, client or self.scheduler.new_client()))
        )

    async def _analyze(self, name: str, length: Length, steps: int, lane: str, client: Client) -> None:
        deadline = time.time() + 5
        async with self.scheduler.analysis(client, length, deadline) as analysis:
            for number in range(steps):
                async with analysis.step(lane, deadline):
                    self.running.append(name)
                    self._ends[name] = asyncio.Event()
                    await self._ends[name].wait()
                    self.running.remove(name)
                del number

    async def end(self, name: str) -> None:
        """End the running step of that name, and let others begin."""
        self._ends[name].set()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    asyncio.run(bounded())


def test_a_short_step_never_waits_for_the_end_of_a_long_analysis() -> None:
    async def scenario() -> None:
        work = Work()
        for number in range(16):
            work.start(f"video {number}", "long", steps=100)
        await settle()
        assert work.running == ["video 0"]  # the captioner's other place is kept for short steps
        work.start("image", "short")
        await settle()
        assert work.running == ["video 0", "image"]

    run(scenario())


def test_with_one_place_a_short_step_waits_for_the_step_that_runs_and_no_other() -> None:
    async def scenario() -> None:
        work = Work(max_concurrent=1)
        work.start("video", "long", steps=100)
        await settle()
        work.start("another", "long_call")
        work.start("image", "short")
        await settle()
        assert work.running == ["video"]
        await work.end("video")
        assert work.running == ["image"]

    run(scenario())


def test_short_steps_do_not_keep_a_long_one_waiting() -> None:
    async def scenario() -> None:
        work = Work(max_concurrent=1)
        work.start("image 0", "short")
        await settle()
        work.start("image 1", "short")
        work.start("image 2", "short")
        work.start("video", "long")
        await settle()
        await work.end("image 0")
        assert work.running == ["video"]
        await work.end("video")
        assert work.running == ["image 1"]

    run(scenario())


def test_long_analyses_take_turns_at_their_steps() -> None:
    async def scenario() -> None:
        work, order = Work(), []
        for name in ("a", "b"):
            work.start(name, "long", steps=3)
        await settle()
        for _ in range(6):
            [name] = work.running
            order.append(name)
            await work.end(name)
        assert order == ["a", "b"] * 3

    run(scenario())


def test_a_bounded_number_of_long_analyses_is_in_progress_and_the_first_come_first() -> None:
    async def scenario() -> None:
        work, seen = Work(), []
        for name in ("a", "b", "c", "d"):
            work.start(name, "long", steps=2)
        await settle()
        while work.running:
            [name] = work.running
            seen.append(name)
            await work.end(name)
        assert seen == ["a", "b", "a", "b", "c", "d", "c", "d"]

    run(scenario())


def test_a_batch_and_a_single_request_take_turns() -> None:
    async def scenario() -> None:
        work = Work(max_concurrent=1)
        batch = work.scheduler.new_client()
        for number in range(3):
            work.start(f"item {number}", "short", client=batch)
        await settle()
        work.start("image", "short")
        await settle()
        await work.end("item 0")
        assert work.running == ["image"]

    run(scenario())


def test_different_deployments_do_not_wait_for_each_other() -> None:
    async def scenario() -> None:
        work = Work(max_concurrent=1)
        work.start("recording", "short", lane="Transcriber")
        work.start("image", "short")
        await settle()
        assert sorted(work.running) == ["image", "recording"]

    run(scenario())


def test_steps_are_bounded_and_given_in_order() -> None:
    async def scenario() -> None:
        scheduler = Scheduler(2)
        running, order, peak = 0, [], 0

        async def work(number: int) -> None:
            nonlocal running, peak
            deadline = time.time() + 5
            async with (
                scheduler.analysis(scheduler.new_client(), "short", deadline) as steps,
                steps.step("Captioner", deadline),
            ):
                running += 1
                peak = max(peak, running)
                order.append(number)
                await asyncio.sleep(0.01)
                running -= 1

        await asyncio.gather(*(work(number) for number in range(6)))
        assert peak == 2
        assert order == list(range(6))

    run(scenario())


@pytest.mark.parametrize("length", ["short", "long"])
def test_waiting_ends_at_the_deadline(length: Length) -> None:
    async def scenario() -> None:
        work = Work(max_concurrent=1)
        work.start("first", length)
        await settle()

        async def wait_until(deadline: float) -> None:
            async with (
                work.scheduler.analysis(work.scheduler.new_client(), length, deadline) as steps,
                steps.step("Captioner", deadline),
            ):
                pass

        for deadline in (time.time() + 0.05, time.time() - 1):
            with pytest.raises(DeadlineExceeded, match="waiting for its turn"):
                await wait_until(deadline)
        await work.end("first")
        work.start("second", length)
        await settle()
        assert work.running == ["second"]

    run(scenario())


@pytest.mark.parametrize("length", ["short", "long"])
def test_cancelled_waiting_and_cancelled_work_free_their_places(length: Length) -> None:
    async def scenario() -> None:
        work = Work(max_concurrent=1)
        work.start("holder", length)
        work.start("waiter", length)
        await settle()
        for task in reversed(work.tasks):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        work.start("next", length)
        await settle()
        assert work.running[-1] == "next"

    run(scenario())


def test_a_step_that_is_granted_and_cancelled_at_once_frees_its_place() -> None:
    async def scenario() -> None:
        work = Work(max_concurrent=1)
        work.start("holder", "short")
        work.start("waiter", "short")
        await settle()
        work._ends["holder"].set()
        while "holder" in work.running:
            await asyncio.sleep(0)
        work.tasks[1].cancel()
        work.start("next", "short")
        await settle()
        assert work.running == ["next"]

    run(scenario())


def test_machine_time_is_shared_by_the_requests_that_run() -> None:
    async def scenario() -> None:
        now = 100.0
        scheduler = Scheduler(2, lambda: now)
        one, two = scheduler.new_client(), scheduler.new_client()
        deadline = time.time() + 5
        async with scheduler.analysis(one, "short", deadline) as steps, steps.step("Captioner", deadline):
            now += 2
            async with scheduler.analysis(two, "short", deadline) as others, others.step("Captioner", deadline):
                now += 4
                assert scheduler.machine_seconds(one) == 4
            now += 1
        now += 10
        assert (scheduler.machine_seconds(one), scheduler.machine_seconds(two)) == (5, 2)

    run(scenario())
