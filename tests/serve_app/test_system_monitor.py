import asyncio
import os
from collections.abc import Mapping
from typing import Any

import psutil
import pytest

from deployments.errors import DeadlineExceeded, ModelLoading, ModelNotLoaded, ServerBusy
from deployments.model_loader import ModelStatus
from serve_app import system_monitor
from serve_app.graph import CAPTIONER, TRANSCRIBER
from serve_app.settings import AppConfig
from serve_app.system_monitor import ReadDeployments, SystemMonitor, app_processes

LOADED = ModelStatus("moondream2", "loaded")


class FakeService:
    """Returns or raises the outcomes in order; the last one is repeated."""

    def __init__(self, *outcomes: ModelStatus | Exception, is_idle: bool = True) -> None:
        self._outcomes = list(outcomes)
        self.is_idle = is_idle
        self.has_reached_last_outcome = asyncio.Event()
        self.failure: str | None = None
        self.overdue: list[str | Exception] = [""]

    async def overdue_detail(self, timeout_s: float) -> str:
        outcome = self.overdue.pop(0) if len(self.overdue) > 1 else self.overdue[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def set_failure(self, reason: str | None) -> None:
        self.failure = reason

    async def status(self, timeout_s: float) -> ModelStatus:
        outcome = self._outcomes[0]
        if len(self._outcomes) > 1:
            self._outcomes.pop(0)
        else:
            self.has_reached_last_outcome.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def make_monitor(service: FakeService, read_deployments: ReadDeployments | None = None) -> SystemMonitor:
    async def no_deployments() -> Mapping[str, Any]:
        return {}

    services = {CAPTIONER.name: service}
    return SystemMonitor([CAPTIONER], services, AppConfig(), read_deployments or no_deployments)  # type: ignore[arg-type]


def state_after(
    monkeypatch: pytest.MonkeyPatch, *outcomes: ModelStatus | Exception, is_idle: bool = True, is_running: bool = False
) -> str:
    monkeypatch.setattr(system_monitor, "STATUS_PERIOD_S", 0.001)
    monkeypatch.setattr(system_monitor, "LOADING_STATUS_PERIOD_S", 0.001)
    monkeypatch.setattr(SystemMonitor, "_measure_usage", lambda self: None)

    async def watch() -> str:
        service = FakeService(*outcomes, is_idle=is_idle)
        monitor = make_monitor(service)
        if is_running:
            replica = {"replica_id": "r1", "state": "RUNNING", "pid": 1}
            monitor._observe(CAPTIONER.name, monitor._histories[CAPTIONER.name], {"replicas": [replica]})
        monitor.start()
        await asyncio.wait_for(service.has_reached_last_outcome.wait(), 5)
        await asyncio.sleep(0.01)
        return monitor.models()[0].state

    return asyncio.run(watch())


def test_a_models_state_is_what_its_replica_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_after(monkeypatch, ModelLoading("soon"), LOADED) == "loaded"
    assert state_after(monkeypatch, LOADED, ModelNotLoaded("no replica could be started")) == "failed"


def test_further_models_of_a_process_follow_its_own_and_fail_with_it() -> None:
    async def make() -> SystemMonitor:
        services = {TRANSCRIBER.name: FakeService(LOADED)}

        async def no_deployments() -> Mapping[str, Any]:
            return {}

        return SystemMonitor([TRANSCRIBER], services, AppConfig(), no_deployments)  # type: ignore[arg-type]

    monitor = asyncio.run(make())
    before = [(model.name, model.state, model.is_available) for model in monitor.models()]
    assert before == [("whisper-base", "loading", False), ("campplus", "not_loaded", True)]
    loading = ModelStatus("campplus", "loading", detail="fetching", is_lazy=True)
    monitor._models[TRANSCRIBER.name] = ModelStatus("whisper-base", "loaded", others=(loading,))
    assert [model.detail for model in monitor.models()] == ["", "fetching"]
    monitor._histories[TRANSCRIBER.name].failure = "It keeps crashing."
    assert [(model.state, model.detail) for model in monitor.models()] == [("failed", "It keeps crashing.")] * 2


def test_a_busy_replica_keeps_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    for silence in (DeadlineExceeded("busy"), ServerBusy("queue full")):
        assert state_after(monkeypatch, LOADED, silence, is_idle=False) == "loaded"


def test_an_idle_replica_that_does_not_respond_is_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_after(monkeypatch, LOADED, DeadlineExceeded("silent")) == "loading"


def test_an_idle_replica_that_runs_but_is_slow_keeps_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an overloaded machine even an idle replica may not respond in time."""
    assert state_after(monkeypatch, LOADED, DeadlineExceeded("silent"), is_running=True) == "loaded"


def test_an_unexpected_error_does_not_end_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_after(monkeypatch, ModelLoading("soon"), RuntimeError("Ray's"), LOADED) == "loaded"


def test_a_process_that_ends_while_it_is_measured_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def memory_full_info(self) -> None:
            raise psutil.NoSuchProcess(1)

    assert system_monitor._memory_bytes(Gone()) == 0  # type: ignore[arg-type]
    assert system_monitor._memory_bytes(psutil.Process(os.getpid())) > 10 * 2**20


def test_the_descendants_of_serve_run_are_the_apps_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process stands for a replica, its parent for the raylet, and its grandparent for `serve run`."""
    launcher = psutil.Process(os.getppid()).parent()
    assert launcher is not None
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self: ["serve", "run"])
    assert {launcher.pid, os.getppid(), os.getpid()} <= {process.pid for process in app_processes()}


def test_a_crash_loop_is_a_failed_model_and_its_calls_are_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_monitor, "REPLICAS_PERIOD_S", 0.001)
    monkeypatch.setattr(SystemMonitor, "_measure_usage", lambda self: None)
    num_reads = 0

    async def read_deployments() -> Mapping[str, Any]:
        """Each time, another replica is starting; now and then Serve's controller does not answer."""
        nonlocal num_reads
        num_reads += 1
        if num_reads % 3 == 2:
            raise RuntimeError("the controller restarts")
        replica = {"replica_id": f"r{num_reads}", "state": "STARTING", "pid": 1}
        return {CAPTIONER.name: {"replicas": [replica], "message": ""}}

    async def watch() -> tuple[SystemMonitor, FakeService]:
        service = FakeService(ModelLoading("its process is starting"))
        monitor = make_monitor(service, read_deployments)
        monitor.start()
        while monitor.models()[0].state != "failed":
            await asyncio.sleep(0.001)
        return monitor, service

    monitor, service = asyncio.run(asyncio.wait_for(watch(), 5))
    [model], [deployment] = monitor.models(), monitor.deployments()
    assert deployment.state == "failing"
    assert deployment.num_deaths >= 3
    assert "times in a row" in model.detail
    assert service.failure == model.detail


OVERDUE = "A call has run for 9 s after its deadline."


@pytest.mark.parametrize(
    ("outcomes", "shown"),
    [
        ([OVERDUE], OVERDUE),
        ([OVERDUE, DeadlineExceeded("busy")], OVERDUE),
        ([OVERDUE, RuntimeError("Ray's")], OVERDUE),
        ([OVERDUE, ModelLoading("its process is starting")], ""),
        ([OVERDUE, ""], ""),
    ],
)
def test_overdue_work_is_named_with_its_deployment(
    monkeypatch: pytest.MonkeyPatch, outcomes: list[str | Exception], shown: str
) -> None:
    monkeypatch.setattr(system_monitor, "OVERDUE_PERIOD_S", 0.001)
    monkeypatch.setattr(SystemMonitor, "_measure_usage", lambda self: None)

    async def watch() -> str:
        service = FakeService(LOADED)
        service.overdue = list(outcomes)
        monitor = make_monitor(service)
        monitor.start()
        while len(service.overdue) > 1:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        return monitor.deployments()[0].detail

    assert asyncio.run(asyncio.wait_for(watch(), 5)) == shown
