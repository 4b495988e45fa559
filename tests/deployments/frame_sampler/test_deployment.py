import asyncio
import time
from typing import Any

import pytest

from deployments.errors import DeadlineExceeded, InvalidFile
from deployments.frame_sampler.deployment import FrameSamplerDeployment
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import SampleTask
from deployments.media import as_media
from tests.media import numbered_pictures, read_number, write_video

DEPLOYMENT: Any = FrameSamplerDeployment


def replica() -> Any:
    """The undecorated class, as it runs in its replica."""
    return DEPLOYMENT.func_or_class(FrameSamplerConfig())


def test_the_deployment_has_one_replica_and_takes_two_videos_at_once() -> None:
    assert DEPLOYMENT.name == "FrameSampler"
    assert DEPLOYMENT.num_replicas == 1
    assert DEPLOYMENT.max_ongoing_requests == 2


def test_two_videos_are_sampled_at_once() -> None:
    async def sample_both() -> list[Any]:
        sampler = replica()
        videos = [as_media(write_video(numbered_pictures(count))) for count in (10, 20)]
        task = SampleTask(2, "uniform")
        return await asyncio.gather(*(sampler.sample(video, task, time.time() + 20) for video in videos))

    first, second = asyncio.run(sample_both())
    assert [read_number(frame.pixels) for frame in first.frames] == [0, 5]
    assert [read_number(frame.pixels) for frame in second.frames] == [0, 10]


def test_errors_pass_through() -> None:
    with pytest.raises(InvalidFile):
        asyncio.run(replica().sample(as_media(b"no video"), SampleTask(2, "uniform"), time.time() + 20))
    with pytest.raises(DeadlineExceeded):
        asyncio.run(replica().sample(as_media(b"no video"), SampleTask(2, "uniform"), time.time() - 1))
