"""Loads the model of a replica in the background and reports its state, which the health endpoint shows."""

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from deployments.commands import VERIFY_COMMAND
from deployments.errors import ModelLoading, ModelNotLoaded
from deployments.log import logger

M = TypeVar("M")
State = Literal["not_loaded", "loading", "loaded", "failed"]


@dataclass(frozen=True)
class ModelStatus:
    """The state of one model, as the health endpoint shows it."""

    name: str
    state: State
    revision: str | None = None
    detail: str = ""
    """While loading the progress; after a failure the reason and the command that fixes it; otherwise empty."""
    load_seconds: float | None = None
    threads: int | None = None
    weight_bytes: int | None = None
    is_miniature: bool = False
    is_lazy: bool = False
    """Whether it is loaded when it is first needed."""
    others: "tuple[ModelStatus, ...]" = ()
    """Further models in the same process."""

    @property
    def is_available(self) -> bool:
        """Whether a request that needs it now can be answered, if its weights are there."""
        return self.state == "loaded" or (self.is_lazy and self.state == "not_loaded")


@dataclass(frozen=True)
class LoadedModel(Generic[M]):
    """A model and the facts about it that go into ModelStatus."""

    model: M
    revision: str | None
    weight_bytes: int
    threads: int


MAX_LOAD_WAIT_S = 15.0
"""A call waits so long for a small model that is not loaded yet, which is enough to read it from the disk. A download
takes longer; then the caller gets its progress instead."""

_LOADING_POLL_S = 0.05
"""How often the end of loading is looked for."""

ReportProgress = Callable[[str], None]
"""Takes one line of progress, such as "fetching model.safetensors, 1.2 of 3.9 GB"."""


class ModelLoader(Generic[M]):
    """Loads one model and holds it.

    `load` runs in its own thread and reports its progress. If eager (`lazy=False`), loading starts at once, and `get`
    raises ModelLoading until it is done. If lazy, the first `get` starts loading, and every `get` waits for it. After a
    failure the replica stays alive: the next `get` raises ModelNotLoaded with the reason and starts another attempt.
    """

    def __init__(
        self, name: str, load: Callable[[ReportProgress], LoadedModel[M]], *, lazy: bool, is_miniature: bool
    ) -> None:
        self._load = load
        self._lazy = lazy
        self._lock = threading.Lock()
        self._model: M | None = None
        self._last_failure = ""
        self._status = ModelStatus(name, "not_loaded", is_miniature=is_miniature, is_lazy=lazy)
        if not lazy:
            self._start_loading()

    def status(self) -> ModelStatus:
        return self._status

    async def get(self, deadline: float) -> M:
        """Return the model, or raise as described above; waits until `deadline` (epoch seconds) at most."""
        status = self._status
        if self._model is None:
            if status.state in ("not_loaded", "failed"):
                self._start_loading()
            if status.state == "failed":
                raise ModelNotLoaded(f"{status.name} could not be loaded: {status.detail} Loading it again now.")
            if not self._lazy:
                after = f" The last attempt failed: {self._last_failure}" if self._last_failure else ""
                progress = f" ({status.detail})" if status.detail else ""
                raise ModelLoading(f"{status.name} is loading{progress}; try again in a moment.{after}")
            while self._status.state == "loading" and time.time() < deadline:
                await asyncio.sleep(_LOADING_POLL_S)
            if self._status.state == "loading":
                raise ModelLoading(f"{status.name} is still loading ({self._status.detail}); try again in a moment.")
        if self._model is None:
            raise ModelNotLoaded(f"{status.name} could not be loaded: {self._status.detail}")
        return self._model

    def unload(self) -> M | None:
        """Forget a loaded model, so that its memory is freed; the next `get` loads it again, and waits as if lazy.

        Returns the model, for one that must be closed; None if none was loaded.
        """
        with self._lock:
            if self._status.state != "loaded":
                return None
            model, self._model = self._model, None
            self._lazy = True
            status = self._status
            self._status = ModelStatus(status.name, "not_loaded", is_miniature=status.is_miniature, is_lazy=True)
            return model

    def _start_loading(self) -> None:
        with self._lock:
            if self._status.state in ("loading", "loaded"):
                return
            self._status = replace(self._status, state="loading", detail="starting")
        threading.Thread(target=self._run_load, name=f"load {self._status.name}", daemon=True).start()

    def _run_load(self) -> None:
        start = time.monotonic()
        try:
            loaded = self._load(self._report)
        except ModelNotLoaded as error:
            logger.error("%s could not be loaded: %s", self._status.name, error)
            self._fail(str(error))
        except OSError as error:
            logger.exception("%s could not be loaded", self._status.name)
            self._fail(_describe(error))
        except Exception as error:
            logger.exception("%s could not be loaded", self._status.name)
            self._fail(
                f"{type(error).__name__} while loading. See the log for the traceback, or try `{VERIFY_COMMAND}`."
            )
        else:
            self._model = loaded.model
            self._status = replace(
                self._status,
                state="loaded",
                detail="",
                revision=loaded.revision,
                load_seconds=round(time.monotonic() - start, 2),
                threads=loaded.threads,
                weight_bytes=loaded.weight_bytes,
            )
            logger.info("%s loaded in %.1f s", self._status.name, time.monotonic() - start)

    def _fail(self, reason: str) -> None:
        self._last_failure = reason
        self._status = replace(self._status, state="failed", detail=reason)

    def _report(self, progress: str) -> None:
        self._status = replace(self._status, detail=progress)


class IdleUnloader(Generic[M]):
    """Unloads a loader's model when no call has needed it for `max_idle_s`. Belongs to one event loop."""

    def __init__(self, loader: ModelLoader[M], max_idle_s: float, free: Callable[[M], None]) -> None:
        """`free` takes the unloaded model and frees its memory."""
        self._loader = loader
        self._max_idle_s = max_idle_s
        self._free = free
        self._num_calls = 0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def call(self) -> Iterator[None]:
        """Keep the model loaded during a call that may need it."""
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1
            self._unload_after(self._max_idle_s)

    def _unload_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._unload)

    def _unload(self) -> None:
        if self._num_calls:
            return
        if self._loader.status().state == "loading":  # the call that started this has ended without the model
            self._unload_after(max(self._max_idle_s, _LOADING_POLL_S))
            return
        model = self._loader.unload()
        if model is not None:
            self._free(model)


def _describe(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}: free some space."
    return f"{error.strerror or type(error).__name__}{where} while loading. See the log, or try `{VERIFY_COMMAND}`."
