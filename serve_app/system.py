"""What health shows of the machine and the models: sampled in the background, so that asking never waits."""

import asyncio
import os
import threading
import time
from dataclasses import replace

import psutil
from ray._common.usage.usage_lib import usage_stats_enabled

from deployments.errors import DeadlineExceeded, ModelLoading, ServerBusy, ServiceError
from deployments.log import logger
from deployments.model_loader import ModelStatus, State
from deployments.units import MEGABYTE
from serve_app.handles import Replica
from serve_app.settings import AppConfig

MEMORY_PERIOD_S = 5.0
MODEL_PERIOD_LOADING_S = 0.5
MODEL_PERIOD_LOADED_S = 1.0
STATUS_TIMEOUT_S = 2.0


class SystemMonitor:
    """Last known figures of the machine, the app's processes and its models."""

    def __init__(self, replicas: list[Replica], config: AppConfig) -> None:
        state: State = "not_loaded" if config.serving.lazy_loading else "loading"
        self._replicas = replicas
        self._models = [
            ModelStatus(model.name, state, is_miniature=model.is_miniature)
            for model in (config.captioner, config.transcriber)
        ]
        self._memory_usage_mb = 0.0
        self._cpu_usage_percent = 0.0
        self._usage_stats_enabled = usage_stats_enabled()

    def start(self) -> None:
        """Begin to watch; to be called on the event loop that serves."""
        threading.Thread(target=self._watch_memory, name="memory", daemon=True).start()
        self._watchers = [asyncio.create_task(self._watch_model(i)) for i in range(len(self._replicas))]

    def models(self) -> list[ModelStatus]:
        return list(self._models)

    def memory_usage_mb(self) -> float:
        return self._memory_usage_mb

    def available_memory_mb(self) -> float:
        return psutil.virtual_memory().available / MEGABYTE

    def cpu_usage_percent(self) -> float:
        return self._cpu_usage_percent

    def usage_stats_enabled(self) -> bool:
        return self._usage_stats_enabled

    async def _watch_model(self, index: int) -> None:
        """Ask the replica again and again; one that does not answer because it is at work keeps the state it had."""
        while True:
            try:
                self._models[index] = await self._replicas[index].status(STATUS_TIMEOUT_S)
            except (DeadlineExceeded, ServerBusy):
                if self._replicas[index].is_idle:
                    self._models[index] = replace(
                        self._models[index], state="loading", detail="its process is starting"
                    )
            except ModelLoading as error:
                self._models[index] = replace(self._models[index], state="loading", detail=str(error))
            except ServiceError as error:
                self._models[index] = replace(self._models[index], state="failed", detail=str(error))
            except Exception:
                # Whatever Ray raises, the watch must go on: a state that no longer changes would be a lie.
                logger.exception("%s could not be asked for its state", self._models[index].name)
            loading = self._models[index].state == "loading"
            await asyncio.sleep(MODEL_PERIOD_LOADING_S if loading else MODEL_PERIOD_LOADED_S)

    def _watch_memory(self) -> None:
        psutil.cpu_percent(interval=None)
        while True:
            try:
                self._memory_usage_mb = sum(_memory_bytes(process) for process in app_processes()) / MEGABYTE
            except psutil.Error:
                logger.exception("The processes could not be listed; the memory figure is the last one")
            time.sleep(MEMORY_PERIOD_S)
            self._cpu_usage_percent = psutil.cpu_percent(interval=None)


def app_processes() -> list[psutil.Process]:
    """Return all processes of the Ray instance this process belongs to, Ray's own included.

    A worker's parent is the raylet. Its parent is `serve run`, which all of Ray hangs below; after `ray start` it is
    whoever adopts orphans, and Ray's daemons are known by the session's name on their command lines.
    """
    raylet = psutil.Process(os.getppid())
    launcher = raylet.parent()
    if launcher is not None and any("serve" in part for part in launcher.cmdline()):
        return [launcher, *launcher.children(recursive=True)]
    session = next(part for part in raylet.cmdline() if part.startswith("--session-name="))
    daemons = [process for process in psutil.process_iter(["cmdline"]) if session in (process.info["cmdline"] or [])]
    found = {process.pid: process for daemon in daemons for process in [daemon, *daemon.children(recursive=True)]}
    return list(found.values())


def _memory_bytes(process: psutil.Process) -> int:
    """Return the process's proportional share of memory (PSS), its resident memory where the system tells no PSS."""
    try:
        full = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    share: int = getattr(full, "pss", 0) or full.rss
    return share
