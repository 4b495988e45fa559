"""What the rest of the graph may call on the frame sampler."""

from typing import Protocol

from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.media import Media


class FrameSamplerService(Protocol):
    async def sample(self, media: Media, task: SampleTask, *, deadline: float) -> SampledVideo:
        """Return the frames of a video that `task` asks for.

        `deadline` is in epoch seconds. Raises InvalidFile for media without a frame that can be decoded, and
        DeadlineExceeded with how far the work got.
        """
