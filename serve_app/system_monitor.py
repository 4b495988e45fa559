"""Measures the machine, watches the app's processes and asks for the state of its models, in the background."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from deployments.errors import DeadlineExceeded, ModelLoading, ServerBusy, ServiceError
from deployments.log import logger
from deployments.model_loader import ModelStatus
from deployments.units import MEGABYTE
from serve_app.graph import Node
from serve_app.port_conflict import launcher_of
from serve_app.remote_service import RemoteService
from serve_app.replica_history import ReplicaHistory, cause_of_death, full_disk
from serve_app.settings import AppConfig
from serve_app.system import DeploymentStatus
from serve_app.usage_stats import usage_stats_enabled

USAGE_PERIOD_S = 5.0
LOADING_STATUS_PERIOD_S = 0.5
STATUS_PERIOD_S = 3.0
OVERDUE_PERIOD_S = 5.0
"""Work is called overdue some seconds after its deadline at the earliest; each question costs a millisecond or two."""
STATUS_TIMEOUT_S = 2.0
REPLICAS_PERIOD_S = 1.0
REPLICAS_TIMEOUT_S = 10.0

ReadDeployments = Callable[[], Awaitable[Mapping[str, Any]]]
"""Returns Serve's details of each deployment of the app (`DeploymentDetails` in ray.serve.schema), by its name."""


class SystemMonitor:
    """Implements `System` for a running graph. `services` are the services of `nodes`, by name."""

    def __init__(
        self,
        nodes: Sequence[Node[Any]],
        services: Mapping[str, RemoteService],
        config: AppConfig,
        read_deployments: ReadDeployments,
    ) -> None:
        self._services = services
        self._models: dict[str, ModelStatus] = {}
        for node in nodes:
            if node.model_section:
                model = getattr(config, node.model_section)
                is_lazy = node.is_lazy(config.serving.lazy_loading)
                self._models[node.name] = ModelStatus(
                    model.name,
                    "not_loaded" if is_lazy else "loading",
                    is_miniature=model.is_miniature,
                    is_lazy=is_lazy,
                    others=tuple(
                        ModelStatus(getattr(config, section).name, "not_loaded", is_lazy=True)
                        for section in node.other_model_sections
                    ),
                )
        self._read_deployments = read_deployments
        logs = _logs_folder()
        explain, why_none_starts = partial(cause_of_death, logs=logs), partial(full_disk, logs)
        self._histories = {node.name: ReplicaHistory(node.name, explain, why_none_starts) for node in nodes}
        self._overdue = {node.name: "" for node in nodes if node.has_threads}
        """For each deployment, what is to be said about work that cannot be stopped."""
        self._progress: dict[str, str] = {}  # what a replica that loads its model last said about it
        self._memory_usage_mb = 0.0
        self._cpu_usage_percent = 0.0
        self._usage_stats_enabled = usage_stats_enabled()

    def start(self) -> None:
        """Start measuring. Call it on the ingress's event loop, where the models are asked for their state."""
        threading.Thread(target=self._measure_usage, name="usage", daemon=True).start()
        self._pollers = [asyncio.create_task(self._poll_status(name)) for name in self._models]
        self._pollers += [asyncio.create_task(self._poll_overdue(name)) for name in self._overdue]
        self._pollers.append(asyncio.create_task(self._poll_replicas()))

    def models(self) -> list[ModelStatus]:
        return [
            self._with_failure(model, self._histories[name].failure)
            for name, status in self._models.items()
            for model in (status, *status.others)
        ]

    def deployments(self) -> list[DeploymentStatus]:
        return [self._with_overdue(history.status) for history in self._histories.values()]

    def memory_usage_mb(self) -> float:
        return self._memory_usage_mb

    def available_memory_mb(self) -> float:
        return psutil.virtual_memory().available / MEGABYTE

    def cpu_usage_percent(self) -> float:
        return self._cpu_usage_percent

    def usage_stats_enabled(self) -> bool:
        return self._usage_stats_enabled

    async def _poll_status(self, name: str) -> None:
        while True:
            self._models[name] = await self._status_of(name, self._models[name])
            status = self._models[name]
            loading = any(model.state == "loading" for model in (status, *status.others))
            await asyncio.sleep(LOADING_STATUS_PERIOD_S if loading else STATUS_PERIOD_S)

    def _with_overdue(self, status: DeploymentStatus) -> DeploymentStatus:
        overdue = self._overdue.get(status.name, "")
        return replace(status, detail=f"{overdue} {status.detail}".strip()) if overdue else status

    async def _poll_overdue(self, name: str) -> None:
        while True:
            self._overdue[name] = await self._overdue_of(name, self._overdue[name])
            await asyncio.sleep(OVERDUE_PERIOD_S)

    async def _overdue_of(self, name: str, last: str) -> str:
        """Return what a replica says about overdue work; if it is too busy to respond, what it said the `last` time."""
        try:
            return await self._services[name].overdue_detail(STATUS_TIMEOUT_S)
        except (DeadlineExceeded, ServerBusy):
            return last
        except ServiceError:
            return ""  # there is no replica, so no work
        except Exception:
            logger.exception("Whether work of %s is overdue could not be read; health shows the last state", name)
            return last

    @staticmethod
    def _with_failure(status: ModelStatus, failure: str | None) -> ModelStatus:
        return status if failure is None else replace(status, state="failed", detail=failure)

    async def _poll_replicas(self) -> None:
        """Count deaths, and let calls to a deployment that keeps dying fail at once."""
        is_reading = True
        while True:
            try:
                deployments = await asyncio.wait_for(self._read_deployments(), REPLICAS_TIMEOUT_S)
                for name, history in self._histories.items():
                    if name in deployments:
                        self._observe(name, history, deployments[name])
                is_reading = True
            except Exception:
                # While Serve's controller restarts, for example. Logged once, not every second.
                if is_reading:
                    logger.exception("The state of the deployments could not be read; health shows the last one")
                is_reading = False
            await asyncio.sleep(REPLICAS_PERIOD_S)

    def _observe(self, name: str, history: ReplicaHistory, details: Mapping[str, Any]) -> None:
        model = self._models.get(name)
        is_ready = model is None or model.state in ("loaded", "not_loaded")
        history.observe(details, is_ready=is_ready, progress=self._progress.get(name, ""))
        self._services[name].set_failure(history.failure)

    async def _status_of(self, name: str, last: ModelStatus) -> ModelStatus:
        """Return the status of a model; if its replica does not respond, but runs, the `last` one: it is busy, or the
        whole machine is."""
        service = self._services[name]
        try:
            status = await service.status(STATUS_TIMEOUT_S)
            self._progress[name] = status.detail if status.state == "loading" else ""
            return status
        except (DeadlineExceeded, ServerBusy):
            is_starting = service.is_idle and self._histories[name].status.state == "starting"
            return replace(last, state="loading", detail="its process is starting") if is_starting else last
        except ModelLoading as error:
            return replace(last, state="loading", detail=str(error))
        except ServiceError as error:
            return replace(last, state="failed", detail=str(error))
        except Exception:
            # Whatever Ray raises, polling must go on, or health would show an old status forever.
            logger.exception("The status of %s could not be read; health shows the last one", last.name)
            return last

    def _measure_usage(self) -> None:
        psutil.cpu_percent(interval=None)
        while True:
            try:
                self._memory_usage_mb = sum(_memory_bytes(process) for process in app_processes()) / MEGABYTE
            except psutil.Error:
                logger.exception("The memory of the app's processes could not be read; health shows the last figure")
            time.sleep(USAGE_PERIOD_S)
            self._cpu_usage_percent = psutil.cpu_percent(interval=None)


def app_processes() -> list[psutil.Process]:
    """Return all processes of the Ray instance that this process belongs to, Ray's own included.

    A worker's parent is the raylet. After `serve run`, the raylet's parent is that program, and all of Ray's processes
    are its descendants. After `ray start`, init has adopted the raylet, and Ray's daemons are found by the session's
    name in their command lines.
    """
    raylet = psutil.Process(os.getppid())
    launcher = launcher_of(raylet)
    if launcher is not None:
        return [launcher, *launcher.children(recursive=True)]
    session = next(part for part in raylet.cmdline() if part.startswith("--session-name="))
    daemons = [process for process in psutil.process_iter(["cmdline"]) if session in (process.info["cmdline"] or [])]
    processes = {process.pid: process for daemon in daemons for process in [daemon, *daemon.children(recursive=True)]}
    return list(processes.values())


def _logs_folder() -> Path:
    """Return where Ray writes the logs of its processes: an option of the raylet, which is a worker's parent."""
    option = "--log_dir="
    arguments = psutil.Process(os.getppid()).cmdline()
    folders = [part.removeprefix(option) for part in arguments if part.startswith(option)]
    return Path(folders[0] if folders else "/tmp/ray/session_latest/logs")


def _memory_bytes(process: psutil.Process) -> int:
    """Return the process's proportional share of memory (PSS), or its resident memory where there is no PSS."""
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    share: int = getattr(memory, "pss", 0) or memory.rss
    return share
