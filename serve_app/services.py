"""What the HTTP edge needs of the rest of the graph.

The ingress gives adapters over Ray handles, tests give small fakes. `deadline` is a point on the epoch clock
(`time.time()`, seconds), fixed when the request arrives. Calls raise ServiceErrors (DeadlineExceeded carries only how
far the work got) and stop the work when the task that awaits them is cancelled.
"""

from dataclasses import dataclass
from typing import Protocol

from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption
from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.media import Media, Pixels
from deployments.model_loader import ModelStatus
from deployments.transcriber.types import TranscribeTask, Transcript


class Captioner(Protocol):
    async def caption_image(self, image: Media, task: CaptionTask, deadline: float) -> ImageCaption: ...

    async def caption_frames(
        self, frames: list[Pixels], task: CaptionTask, deadline: float
    ) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame, in order; a frame that fails harms no other."""

    async def summarize(self, descriptions: list[str], max_new_tokens: int, deadline: float) -> Caption: ...


class Transcriber(Protocol):
    async def transcribe(self, media: Media, task: TranscribeTask, deadline: float) -> Transcript: ...


class FrameSampler(Protocol):
    async def sample(self, media: Media, task: SampleTask, deadline: float) -> SampledVideo: ...


class System(Protocol):
    """What health tells; every answer is the last one known, so none of these blocks."""

    def models(self) -> list[ModelStatus]:
        """Return the captioner's status, then the transcriber's."""

    def memory_usage_mb(self) -> float:
        """Return the memory of all processes of the app."""

    def available_memory_mb(self) -> float:
        """Return the memory free on the machine."""

    def cpu_usage_percent(self) -> float: ...

    def usage_stats_enabled(self) -> bool: ...


@dataclass(frozen=True)
class Services:
    captioner: Captioner
    transcriber: Transcriber
    frame_sampler: FrameSampler
    system: System
