"""The frame sampler as other parts of the graph see it."""

from typing import Protocol

from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.media import Media


class FrameSamplerService(Protocol):
    """Takes frames out of videos. `deadline` is in epoch seconds; calls raise ServiceErrors."""

    async def sample(self, media: Media, task: SampleTask, *, deadline: float) -> SampledVideo: ...
