"""Calls from the ingress to the other deployments.

Serve does not stop the work of a call whose caller is gone, and it wraps the errors that the work raises. So every call
goes through RemoteService, which keeps the deadline, cancels the work and raises ServiceErrors.
"""

import asyncio
import errno
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn

from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.errors import (
    DeadlineExceeded,
    ModelLoading,
    ModelNotLoaded,
    ProcessingFailed,
    ServerBusy,
    ServiceError,
    StorageFull,
)
from deployments.model_loader import ModelStatus
from serve_app.graph import Node

GRACE_S = 1.0
"""How long after the deadline a worker may take to stop by itself and report how far it got."""
RESTART_POLL_S = 0.5
"""How often a call is tried again while the model of a new replica loads."""

STORAGE_FULL = (
    "The server has no room for the request's data: its shared memory is full, and so is the disk with Ray's temporary "
    "folder. Free some space there, then try again."
)

_NO_MORE = object()


class _ReplicaDied(Exception):
    """The replica's process ended before it had answered the call."""


class RemoteService:
    """The methods of a deployment, as its node in the graph names them; `AppContext.service` adds the Protocol's types.

    The keyword `deadline` (epoch seconds) bounds a call; without it a call has no time limit. A call raises the
    ServiceError that the replica raised, or DeadlineExceeded, ServerBusy, ModelNotLoaded or ProcessingFailed. Any other
    error of the replica is raised as Ray wraps it. When the caller is cancelled, so is the work.

    If a replica dies during a call whose node allows a replay (`graph.Replay`), the call is made a second time, within
    the deadline, once the next replica has loaded its model. A call that finds a model loading again after a restart
    waits for it in the same way: it may belong to a video that is nearly done.

    A streaming method (`Node.streaming_methods`) returns an asynchronous generator; closing it cancels the work. After
    a replay its items begin anew.
    """

    def __init__(self, handle: DeploymentHandle[Any], node: Node[Any]) -> None:
        self._handle = handle
        self._name = node.name
        self._methods = node.methods
        self._streaming_methods = node.streaming_methods
        self._num_calls = 0
        self._was_loaded = False
        self._failure: str | None = None
        self._waiting: set[asyncio.Timeout] = set()

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]] | Callable[..., AsyncGenerator[Any, None]]:
        if method not in self._methods:
            raise AttributeError(f"{self._name} has no method {method!r} in its node of the graph")
        return partial(self._stream if method in self._streaming_methods else self._call, method)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress, so that a replica that does not respond cannot be busy with one."""
        return self._num_calls == 0

    def set_failure(self, reason: str | None) -> None:
        """Let all calls, also those that are waiting for a replica, raise ModelNotLoaded at once; None ends that.

        Serve lets calls wait for the next replica without limit, however often replicas have died.
        """
        self._failure = reason
        if reason is not None:
            for call in self._waiting:
                if not call.expired():  # one that ends at this moment cannot be ended again
                    call.reschedule(asyncio.get_running_loop().time())

    async def status(self, timeout_s: float) -> ModelStatus:
        """Return the state of the deployment's model; raises DeadlineExceeded while the replica is too busy."""
        try:
            status: ModelStatus = await self._result(self._handle.status.remote(), timeout_s)
        except _ReplicaDied:
            raise ModelLoading(f"{self._name} is restarting.") from None
        self._was_loaded = self._was_loaded or status.state == "loaded"
        return status

    async def overdue_detail(self, timeout_s: float) -> str:
        """Return what the replica says about work that cannot be stopped, empty without any; raises as `status`."""
        try:
            detail: str = await self._result(self._handle.overdue_detail.remote(), timeout_s)
        except _ReplicaDied:
            raise ModelLoading(f"{self._name} is restarting.") from None
        return detail

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        replay = self._methods[method]
        if replay == "with_request_id":
            kwargs["request_id"] = uuid.uuid4().hex
        try:
            return await self._call_once(method, *args, **kwargs)
        except _ReplicaDied:
            if replay == "never":
                raise ProcessingFailed(
                    f"{self._name} stopped while working on this request, so it may or may not have taken effect. "
                    "Check that before you send it again."
                ) from None
            return await self._call_again(method, *args, **kwargs)
        except ModelLoading:
            # The replica refused the call before it began, so making it again is safe for every method.
            if not self._was_loaded:
                raise
            return await self._call_again(method, *args, **kwargs)

    async def _call_again(self, method: str, *args: Any, deadline: float | None = None, **kwargs: Any) -> Any:
        while deadline is None or time.time() < deadline:
            try:
                return await self._call_once(method, *args, deadline=deadline, **kwargs)
            except ModelLoading:
                await asyncio.sleep(RESTART_POLL_S)
            except _ReplicaDied:
                raise ProcessingFailed(f"{self._name} stopped twice while working on this request.") from None
        raise ModelLoading(f"{self._name} stopped while it had requests and is restarting; try again.")

    async def _stream(self, method: str, *args: Any, deadline: float, **kwargs: Any) -> AsyncGenerator[Any, None]:
        has_died = False
        while True:
            try:
                async with aclosing(self._stream_once(method, *args, deadline=deadline, **kwargs)) as items:
                    async for item in items:
                        yield item
                return
            except _ReplicaDied:
                if self._methods[method] == "never":
                    raise ProcessingFailed(f"{self._name} stopped while it was working on this request.") from None
                if has_died:
                    raise ProcessingFailed(f"{self._name} stopped twice while working on this request.") from None
                has_died = True
            except ModelLoading:
                if not has_died and not self._was_loaded:
                    raise
                await asyncio.sleep(RESTART_POLL_S)
            if time.time() >= deadline:
                raise ModelLoading(f"{self._name} stopped while it had requests and is restarting; try again.")

    async def _stream_once(self, method: str, *args: Any, deadline: float, **kwargs: Any) -> AsyncGenerator[Any, None]:
        if self._failure is not None:
            raise ModelNotLoaded(self._failure)
        items = getattr(self._handle.options(stream=True), method).remote(*args, deadline=deadline, **kwargs)
        is_done = False
        try:
            while (item := await self._wait(_NextItem(items), deadline + GRACE_S - time.time())) is not _NO_MORE:
                yield item
            is_done = True
            self._was_loaded = True
        finally:
            if not is_done:
                items.cancel()

    async def _call_once(self, method: str, *args: Any, deadline: float | None = None, **kwargs: Any) -> Any:
        if self._failure is not None:
            raise ModelNotLoaded(self._failure)
        timeout_s = None
        if deadline is not None:
            timeout_s = deadline + GRACE_S - time.time()
            kwargs["deadline"] = deadline
        result = await self._wait(getattr(self._handle, method).remote(*args, **kwargs), timeout_s)
        self._was_loaded = True
        return result

    async def _wait(self, response: Any, timeout_s: float | None) -> Any:
        """Return the result of a response; raises what `_result` raises, and ModelNotLoaded once `set_failure` is
        called."""
        self._num_calls += 1
        call = asyncio.timeout(None)  # set_failure gives it a time
        try:
            async with call:
                self._waiting.add(call)
                return await self._result(response, timeout_s)
        except TimeoutError:
            if not call.expired():
                raise
            raise ModelNotLoaded(self._failure or f"{self._name} is restarting.") from None
        finally:
            self._waiting.discard(call)
            self._num_calls -= 1

    async def _result(self, response: Any, timeout_s: float | None) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await response
        except RayTaskError as error:
            _raise_cause(error)
        except TimeoutError:
            response.cancel()
            raise DeadlineExceeded(f"{self._name} was still working") from None
        except asyncio.CancelledError:
            response.cancel()
            raise
        except BackPressureError:
            raise ServerBusy(f"The queue of {self._name} is full; try again later.") from None
        except DeploymentUnavailableError:
            reason = self._failure or f"{self._name} could not be started; the server's log says why."
            raise ModelNotLoaded(reason) from None
        except (ObjectStoreFullError, OutOfDiskError) as error:
            raise StorageFull(STORAGE_FULL) from error
        except RayActorError as error:
            raise _ReplicaDied from error


class _NextItem:
    """The next item of a streamed response, or `_NO_MORE`; like a response, it can be awaited and cancelled."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __await__(self) -> Generator[Any, None, Any]:
        return self._next().__await__()

    async def _next(self) -> Any:
        return await anext(self._items, _NO_MORE)

    def cancel(self) -> None:
        self._items.cancel()


def _raise_cause(error: RayTaskError) -> NoReturn:
    """Raise the ServiceError that the replica raised, without Ray's wrapper, whose text is the remote traceback."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ServiceError):
        raise cause from None
    if isinstance(cause, ObjectStoreFullError | OutOfDiskError):
        raise StorageFull(STORAGE_FULL) from error
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        raise StorageFull(STORAGE_FULL) from error
    raise error
