"""The frame sampler as a Ray Serve deployment."""

import cv2

from deployments.frame_sampler.sampler import sample_video
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.log import hide_expected_errors
from deployments.media import Media
from deployments.worker_threads import WorkerThreads


class FrameSamplerDeployment:
    """Samples frames from videos, two videos at a time."""

    def __init__(self, config: FrameSamplerConfig) -> None:
        hide_expected_errors()
        # By default OpenCV uses a thread for every core, which would compete with the models' threads.
        cv2.setNumThreads(1)
        self._config = config
        self._threads = WorkerThreads("frame_sampler")

    async def sample(self, media: Media, task: SampleTask, *, deadline: float) -> SampledVideo:
        """Return the frames of a video that `task` asks for, and its metadata.

        Raises InvalidFile, and DeadlineExceeded with how far the work got.
        """
        return await self._threads.run(
            lambda cancellation: sample_video(media, task, self._config, cancellation), deadline
        )
