"""The frame sampler as a Ray Serve deployment."""

import weakref

from deployments.frame_sampler.sampler import sample_video
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.log import hide_expected_errors
from deployments.media import Media
from deployments.sandbox import Sandbox
from deployments.worker_threads import ThreadedDeployment, WorkerThreads

DECODER_MEMORY_BYTES = 2048 * 2**20
"""What decoding one video may take, without the file. 8K video needs most: H.264 with 10 bits 1.3 GB (measured)."""
DECODER_SILENCE_S = 20.0
"""A decoder that neither reads nor reports progress for so long is at work on a file that is made for that."""


class FrameSamplerDeployment(ThreadedDeployment):
    """Samples frames from videos, two videos at a time, each in a process of its own."""

    def __init__(self, frame_sampler: FrameSamplerConfig) -> None:
        self._sandbox = Sandbox(
            "deployments.frame_sampler.sampler", DECODER_MEMORY_BYTES, max_silence_s=DECODER_SILENCE_S
        )
        weakref.finalize(self, self._sandbox.close)
        hide_expected_errors()
        self._config = frame_sampler
        self._threads = WorkerThreads("frame_sampler")

    async def sample(self, media: Media, task: SampleTask, *, deadline: float) -> SampledVideo:
        """Return the frames of a video that `task` asks for, and its metadata.

        Raises InvalidFile, and DeadlineExceeded with how far the work got.
        """
        return await self._threads.run(
            lambda cancellation: sample_video(media, task, self._config, cancellation, self._sandbox), deadline
        )
