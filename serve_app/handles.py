"""Calls from the ingress to the other deployments: bounded by the deadline, cancelled for good, in our own errors.

Serve neither stops the work behind an abandoned call nor speaks our errors, so every call goes through `Replica.call`.
"""

import asyncio
import time
from typing import Any, NoReturn

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption
from deployments.errors import (
    DeadlineExceeded,
    ModelLoading,
    ModelNotLoaded,
    ProcessingFailed,
    ServerBusy,
    ServiceError,
)
from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.media import Media, Pixels
from deployments.model_loader import ModelStatus
from deployments.transcriber.types import TranscribeTask, Transcript

GRACE_S = 1.0
"""How long after the deadline a worker may take to stop by itself and tell how far it got."""
RESTART_POLL_S = 0.5


class _ReplicaDied(Exception):
    """The process that worked on the call is gone."""


class Replica:
    """A deployment, called by the name of its method.

    A call whose replica dies is made once more on the new one, as soon as its model is loaded and within the deadline:
    every method of the graph only computes, so doing it twice harms nobody. So is one that comes while a model that was
    loaded before is loading again, for it may belong to a video that has been worked on for long.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle
        self._name = handle.deployment_name
        self._num_calls = 0
        self._was_loaded = False

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way, so that a replica that does not answer cannot be at work."""
        return self._num_calls == 0

    async def call(self, method: str, *args: Any, deadline: float) -> Any:
        """Return the method's result; `deadline` (epoch seconds) is its last argument.

        Raises the ServiceError that the replica raised, DeadlineExceeded, ServerBusy or ModelNotLoaded; any other
        error of the replica is passed on as it is. When the caller is cancelled, so is the work.
        """
        try:
            return await self._call_once(method, *args, deadline=deadline)
        except _ReplicaDied:
            return await self._call_again(method, *args, deadline=deadline)
        except ModelLoading:
            if not self._was_loaded:
                raise
            return await self._call_again(method, *args, deadline=deadline)

    async def _call_again(self, method: str, *args: Any, deadline: float) -> Any:
        restarting = ModelLoading(f"{self._name} stopped while it had requests and is restarting; try again.")
        while time.time() < deadline:
            try:
                return await self._call_once(method, *args, deadline=deadline)
            except ModelLoading:
                await asyncio.sleep(RESTART_POLL_S)
            except _ReplicaDied:
                raise ProcessingFailed(f"{self._name} stopped twice while working on this request.") from None
        raise restarting

    async def _call_once(self, method: str, *args: Any, deadline: float) -> Any:
        self._num_calls += 1
        try:
            response = getattr(self._handle, method).remote(*args, deadline)
            result = await self._result(response, deadline + GRACE_S - time.time())
            self._was_loaded = True
            return result
        finally:
            self._num_calls -= 1

    async def status(self, timeout_s: float) -> ModelStatus:
        """Return the state of the deployment's model; raises DeadlineExceeded while it is too busy to say."""
        try:
            status: ModelStatus = await self._result(self._handle.status.remote(), timeout_s)
        except _ReplicaDied:
            raise ModelLoading(f"{self._name} is restarting.") from None
        self._was_loaded = self._was_loaded or status.state == "loaded"
        return status

    async def _result(self, response: Any, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await response
        except RayTaskError as error:
            _raise_cause(error)
        except TimeoutError:
            response.cancel()
            raise DeadlineExceeded(f"{self._name} was still at work") from None
        except asyncio.CancelledError:
            response.cancel()
            raise
        except BackPressureError:
            raise ServerBusy(f"The queue of {self._name} is full; try again later.") from None
        except DeploymentUnavailableError:
            raise ModelNotLoaded(f"{self._name} could not be started; the server's log says why.") from None
        except RayActorError as error:
            raise _ReplicaDied from error


def _raise_cause(error: RayTaskError) -> NoReturn:
    """Raise our error as the replica raised it: Ray's wrapper reads as the remote traceback."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ServiceError):
        raise cause from None
    raise error


class CaptionerHandle:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def caption_image(self, image: Media, task: CaptionTask, deadline: float) -> ImageCaption:
        caption: ImageCaption = await self._replica.call("caption_image", image, task, deadline=deadline)
        return caption

    async def caption_frames(
        self, frames: list[Pixels], task: CaptionTask, deadline: float
    ) -> list[Caption | FrameFailure]:
        captions: list[Caption | FrameFailure]
        captions = await self._replica.call("caption_frames", frames, task, deadline=deadline)
        return captions

    async def summarize(self, descriptions: list[str], max_new_tokens: int, deadline: float) -> Caption:
        caption: Caption = await self._replica.call("summarize", descriptions, max_new_tokens, deadline=deadline)
        return caption


class TranscriberHandle:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def transcribe(self, media: Media, task: TranscribeTask, deadline: float) -> Transcript:
        transcript: Transcript = await self._replica.call("transcribe", await _put(media), task, deadline=deadline)
        return transcript


class FrameSamplerHandle:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def sample(self, media: Media, task: SampleTask, deadline: float) -> SampledVideo:
        video: SampledVideo = await self._replica.call("sample", await _put(media), task, deadline=deadline)
        return video


async def _put(media: Media) -> "ray.ObjectRef[Media]":
    """Copy media into the object store, off the event loop: 100 MB take long enough to be felt by other requests."""
    return await asyncio.to_thread(ray.put, media)
