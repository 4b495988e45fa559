import asyncio
import errno
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol, cast

import pytest
from ray.exceptions import ActorDiedError, ObjectStoreFullError, OutOfDiskError, RayTaskError
from ray.serve.exceptions import BackPressureError

from deployments.errors import (
    DeadlineExceeded,
    InvalidFile,
    ModelLoading,
    ModelNotLoaded,
    ProcessingFailed,
    ServerBusy,
    StorageFull,
)
from serve_app import remote_service
from serve_app.graph import Node, Replay
from serve_app.remote_service import RemoteService


class FakeResponse:
    """What calling a method of a handle returns: it can be awaited and cancelled."""

    def __init__(self, outcome: Awaitable[Any]) -> None:
        self._outcome = outcome
        self.is_cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        return self._outcome.__await__()

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeHandle:
    """A handle whose calls of `work` end with these outcomes, in order; the last one is repeated."""

    def __init__(self, *outcomes: Any) -> None:
        self._outcomes = list(outcomes)
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.responses: list[FakeResponse] = []

    @property
    def work(self) -> "FakeHandle":
        return self

    def remote(self, *args: Any, **kwargs: Any) -> FakeResponse:
        self.calls.append((args, kwargs))
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]

        async def end() -> Any:
            if callable(outcome):
                return await outcome()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        self.responses.append(FakeResponse(end()))
        return self.responses[-1]


class Worker(Protocol):
    async def work(self, *args: Any, deadline: float) -> Any: ...


def service(handle: FakeHandle, replay: Replay = "always") -> Worker:
    node = Node("Worker", "tests:Worker", Worker, sections=(), methods={"work": replay})
    return cast(Worker, RemoteService(handle, node))  # type: ignore[arg-type]


def call(handle: FakeHandle, seconds: float = 5.0, replay: Replay = "always") -> Any:
    return asyncio.run(service(handle, replay).work("argument", deadline=time.time() + seconds))


def as_ray_raises(error: Exception) -> Exception:
    """Return an error as it comes out of a remote call: both Ray's and its own class."""
    raised: Exception = RayTaskError("work", "the remote traceback", error).as_instanceof_cause()
    return raised


async def forever() -> None:
    await asyncio.sleep(60)


@pytest.fixture
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_service, "GRACE_S", 0.0)
    monkeypatch.setattr(remote_service, "RESTART_POLL_S", 0.01)


def test_a_result_is_passed_on_and_the_deadline_goes_with_the_call() -> None:
    handle = FakeHandle("words")
    before = time.time()
    assert call(handle, 7) == "words"
    [(arguments, keywords)] = handle.calls
    assert arguments == ("argument",)
    assert keywords.keys() == {"deadline"}
    assert before + 7 <= keywords["deadline"] <= time.time() + 7


def test_an_error_of_the_replica_arrives_as_it_was_raised() -> None:
    with pytest.raises(InvalidFile) as caught:
        call(FakeHandle(as_ray_raises(InvalidFile("It is broken."))))
    assert type(caught.value) is InvalidFile
    assert str(caught.value) == "It is broken."


def test_a_bug_of_the_replica_stays_a_bug_even_if_it_is_a_timeout_error() -> None:
    with pytest.raises(RayTaskError):
        call(FakeHandle(as_ray_raises(TimeoutError("in the model"))))


def test_a_full_queue_is_server_busy() -> None:
    with pytest.raises(ServerBusy):
        call(FakeHandle(BackPressureError(64, 64)))


@pytest.mark.usefixtures("_no_grace")
def test_a_call_past_its_deadline_is_cancelled() -> None:
    handle = FakeHandle(forever)
    with pytest.raises(DeadlineExceeded):
        call(handle, 0.05)
    assert handle.responses[0].is_cancelled


def test_a_caller_that_leaves_cancels_the_call() -> None:
    handle = FakeHandle(forever)

    async def leave() -> None:
        task = asyncio.create_task(service(handle).work(deadline=time.time() + 60))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(leave())
    assert handle.responses[0].is_cancelled


@pytest.mark.usefixtures("_no_grace")
def test_a_call_whose_replica_died_is_made_again_when_the_next_replica_has_loaded() -> None:
    handle = FakeHandle(ActorDiedError(), as_ray_raises(ModelLoading("loading")), "words")
    assert call(handle) == "words"
    assert len(handle.calls) == 3


@pytest.mark.usefixtures("_no_grace")
def test_a_call_waits_for_a_model_that_was_loaded_before() -> None:
    async def two_calls() -> list[str]:
        handle = FakeHandle("first", as_ray_raises(ModelLoading("loading")), "second")
        worker = service(handle)
        return [await worker.work(deadline=time.time() + 5) for _ in range(2)]

    assert asyncio.run(two_calls()) == ["first", "second"]


def test_a_call_does_not_wait_for_a_model_that_loads_for_the_first_time() -> None:
    handle = FakeHandle(as_ray_raises(ModelLoading("reading weights")))
    with pytest.raises(ModelLoading, match="reading weights"):
        call(handle)
    assert len(handle.calls) == 1


def test_a_call_that_kills_two_replicas_is_not_made_a_third_time() -> None:
    handle = FakeHandle(ActorDiedError())
    with pytest.raises(ProcessingFailed, match="twice"):
        call(handle)
    assert len(handle.calls) == 2


@pytest.mark.usefixtures("_no_grace")
def test_a_next_replica_that_is_not_ready_in_time_is_reported_as_restarting() -> None:
    outcomes: list[Exception | Callable[[], Awaitable[None]]] = [ActorDiedError(), as_ray_raises(ModelLoading("soon"))]
    with pytest.raises(ModelLoading, match="restarting"):
        call(FakeHandle(*outcomes), 0.1)


def test_a_next_replica_that_cannot_load_is_reported_at_once() -> None:
    handle = FakeHandle(ActorDiedError(), as_ray_raises(ModelNotLoaded("The weights are gone.")))
    with pytest.raises(ModelNotLoaded, match="weights are gone"):
        call(handle)


def test_a_method_that_is_not_in_the_row_cannot_be_called() -> None:
    with pytest.raises(AttributeError, match="Worker has no method 'rest'"):
        _ = service(FakeHandle("words")).rest  # type: ignore[attr-defined]


def test_a_call_without_a_deadline_has_no_time_limit() -> None:
    async def unhurried() -> str:
        await asyncio.sleep(0.05)
        return "words"

    handle = FakeHandle(unhurried)
    assert asyncio.run(service(handle).work()) == "words"  # type: ignore[call-arg]
    assert handle.calls == [((), {})]


@pytest.mark.usefixtures("_no_grace")
def test_a_method_that_must_not_be_replayed_is_called_once_and_the_caller_learns_that_the_outcome_is_unknown() -> None:
    handle = FakeHandle(ActorDiedError(), "words")
    with pytest.raises(ProcessingFailed, match="may or may not have taken effect"):
        call(handle, replay="never")
    assert len(handle.calls) == 1


@pytest.mark.usefixtures("_no_grace")
def test_both_calls_of_a_replayed_request_carry_the_same_id_and_another_request_another() -> None:
    handle = FakeHandle(ActorDiedError(), "words")
    assert call(handle, replay="with_request_id") == "words"
    first, second = (keywords["request_id"] for _, keywords in handle.calls)
    assert first == second
    call(handle, replay="with_request_id")
    assert handle.calls[-1][1]["request_id"] != first


@pytest.mark.usefixtures("_no_grace")
def test_a_call_that_a_loading_model_refused_is_made_again_even_if_it_must_not_be_replayed() -> None:
    async def two_calls() -> list[str]:
        worker = service(FakeHandle("first", as_ray_raises(ModelLoading("loading")), "second"), "never")
        return [await worker.work(deadline=time.time() + 5) for _ in range(2)]

    assert asyncio.run(two_calls()) == ["first", "second"]


def failing_service(handle: FakeHandle) -> tuple[Worker, RemoteService]:
    worker = service(handle)
    return worker, cast(RemoteService, worker)


def test_a_call_to_a_deployment_that_keeps_dying_fails_at_once_with_the_cause() -> None:
    async def call_while_failing() -> None:
        worker, remote = failing_service(handle)
        remote.set_failure("Worker has stopped 3 times in a row.")
        await worker.work(deadline=time.time() + 60)

    handle = FakeHandle("words")
    with pytest.raises(ModelNotLoaded, match="3 times in a row"):
        asyncio.run(call_while_failing())
    assert handle.calls == []


def test_a_call_that_waits_for_a_deployment_that_keeps_dying_is_ended_with_the_cause() -> None:
    async def fail_during_a_call() -> None:
        worker, remote = failing_service(handle)
        call = asyncio.create_task(worker.work(deadline=time.time() + 60))
        await asyncio.sleep(0.01)
        for _ in range(2):  # the second one comes before the call has ended
            remote.set_failure("Worker has stopped 3 times in a row.")
            await asyncio.sleep(0)
        remote.set_failure("Worker has stopped 3 times in a row.")
        await call

    handle = FakeHandle(forever)
    with pytest.raises(ModelNotLoaded, match="3 times in a row"):
        asyncio.run(fail_during_a_call())
    assert handle.responses[0].is_cancelled


def test_a_deployment_that_has_recovered_is_called_again() -> None:
    async def call_after_recovery() -> Any:
        worker, remote = failing_service(FakeHandle("words"))
        remote.set_failure("Worker has stopped 3 times in a row.")
        remote.set_failure(None)
        return await worker.work(deadline=time.time() + 60)

    assert asyncio.run(call_after_recovery()) == "words"


@pytest.mark.parametrize("error", [ObjectStoreFullError("full"), OutOfDiskError("full")])
def test_no_room_for_the_data_of_a_call_is_storage_full(error: Exception) -> None:
    for raised in (error, as_ray_raises(error)):
        with pytest.raises(StorageFull, match="Free some space"):
            call(FakeHandle(raised))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_replica_that_cannot_write_to_its_disk_has_no_room(number: int) -> None:
    with pytest.raises(StorageFull, match="Free some space"):
        call(FakeHandle(as_ray_raises(OSError(number, "No space left on device"))))


class FakeStream:
    """What calling a streaming method of a handle returns."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self.is_cancelled = False

    async def __anext__(self) -> Any:
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if callable(item):
            return await item()
        if isinstance(item, Exception):
            raise item
        return item

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeStreamingHandle:
    """Each call gets the next one of the streams, the last one again and again."""

    def __init__(self, *items: Any, then: Sequence[Any] | None = None) -> None:
        self.stream = FakeStream(list(items))
        self._next_stream = self.stream if then is None else FakeStream(list(then))
        self.calls: list[dict[str, Any]] = []

    def options(self, *, stream: bool) -> "FakeStreamingHandle":
        assert stream
        return self

    @property
    def work(self) -> "FakeStreamingHandle":
        return self

    def remote(self, **keywords: Any) -> FakeStream:
        self.calls.append(keywords)
        stream, self.stream = self.stream, self._next_stream
        self.last = stream
        return stream


class StreamingWorker(Protocol):
    def work(self, *, deadline: float) -> AsyncGenerator[Any, None]: ...


def streaming_service(handle: FakeStreamingHandle, replay: Replay = "never") -> tuple[StreamingWorker, RemoteService]:
    node = Node("Worker", "tests:Worker", StreamingWorker, (), {"work": replay}, frozenset({"work"}))
    remote = RemoteService(handle, node)  # type: ignore[arg-type]
    return cast(StreamingWorker, remote), remote


def items_of(handle: FakeStreamingHandle, seconds: float = 5.0, replay: Replay = "never") -> list[Any]:
    async def collect() -> list[Any]:
        return [item async for item in streaming_service(handle, replay)[0].work(deadline=time.time() + seconds)]

    return asyncio.run(collect())


def test_the_items_of_a_stream_arrive_and_the_deadline_goes_with_the_call() -> None:
    handle = FakeStreamingHandle(1, None, 3)
    assert items_of(handle) == [1, None, 3]
    assert handle.calls[0].keys() == {"deadline"}
    assert not handle.last.is_cancelled


def test_closing_a_stream_cancels_the_work() -> None:
    async def run() -> None:
        handle = FakeStreamingHandle(1, 2)
        items = streaming_service(handle)[0].work(deadline=time.time() + 5)
        assert await anext(items) == 1
        assert not handle.last.is_cancelled
        await items.aclose()
        assert handle.last.is_cancelled

    asyncio.run(run())


def test_a_caller_that_leaves_while_it_waits_for_an_item_cancels_the_work() -> None:
    async def run() -> None:
        handle = FakeStreamingHandle(1, forever)
        items = streaming_service(handle)[0].work(deadline=time.time() + 5)
        await anext(items)
        waiting = asyncio.create_task(anext(items))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert handle.last.is_cancelled

    asyncio.run(run())


@pytest.mark.usefixtures("_no_grace")
def test_a_stream_past_its_deadline_is_cancelled() -> None:
    handle = FakeStreamingHandle(1, forever)
    with pytest.raises(DeadlineExceeded):
        items_of(handle, 0.05)
    assert handle.last.is_cancelled


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (as_ray_raises(InvalidFile("It is broken.")), InvalidFile),
        (ActorDiedError(), ProcessingFailed),
        (BackPressureError(64, 64), ServerBusy),
    ],
)
def test_an_error_ends_a_stream_and_nothing_is_replayed(raised: Exception, expected: type[Exception]) -> None:
    handle = FakeStreamingHandle(1, raised)
    with pytest.raises(expected):
        items_of(handle)
    assert len(handle.calls) == 1
    assert handle.last.is_cancelled


def test_a_stream_from_a_deployment_that_keeps_dying_is_ended_with_the_cause() -> None:
    async def run() -> None:
        worker, remote = streaming_service(FakeStreamingHandle(forever))
        waiting = asyncio.create_task(anext(worker.work(deadline=time.time() + 5)))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        remote.set_failure("Worker has stopped 3 times in a row.")
        for call in (waiting, anext(worker.work(deadline=time.time() + 5))):
            with pytest.raises(ModelNotLoaded, match="3 times in a row"):
                await call

    asyncio.run(run())


def test_a_stream_whose_replica_dies_begins_anew_if_it_may_be_replayed() -> None:
    handle = FakeStreamingHandle(1, ActorDiedError(), then=[1, 2, 3])
    assert items_of(handle, replay="always") == [1, 1, 2, 3]
    assert len(handle.calls) == 2


def test_a_stream_whose_replica_dies_twice_is_given_up() -> None:
    handle = FakeStreamingHandle(1, ActorDiedError(), then=[1, ActorDiedError()])
    with pytest.raises(ProcessingFailed, match="stopped twice"):
        items_of(handle, replay="always")
    assert len(handle.calls) == 2


def test_a_stream_waits_for_the_model_of_the_next_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_service, "RESTART_POLL_S", 0.01)
    handle = FakeStreamingHandle(ActorDiedError(), then=[as_ray_raises(ModelLoading("loading")), 1, 2])
    assert items_of(handle, replay="always") == [1, 2]
    assert len(handle.calls) == 3
