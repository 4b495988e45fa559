import asyncio
import time
from typing import Any

import pytest

from deployments.errors import DeadlineExceeded, InvalidFile
from deployments.frame_sampler.deployment import FrameSamplerDeployment
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import SampleTask
from deployments.media import as_media
from deployments.sandbox import Sandbox
from tests.videos import numbered_pictures, read_number, write_video


def test_two_videos_are_sampled_at_once() -> None:
    async def sample_both() -> list[Any]:
        sampler = FrameSamplerDeployment(FrameSamplerConfig())
        videos = [as_media(write_video(numbered_pictures(count))) for count in (10, 20)]
        task = SampleTask(2, "uniform")
        return await asyncio.gather(*(sampler.sample(video, task, deadline=time.time() + 20) for video in videos))

    first, second = asyncio.run(sample_both())
    assert [read_number(frame.pixels) for frame in first.frames] == [0, 5]
    assert [read_number(frame.pixels) for frame in second.frames] == [0, 10]


def test_errors_pass_through() -> None:
    sampler = FrameSamplerDeployment(FrameSamplerConfig())
    with pytest.raises(InvalidFile):
        asyncio.run(sampler.sample(as_media(b"no video"), SampleTask(2, "uniform"), deadline=time.time() + 20))
    with pytest.raises(DeadlineExceeded):
        asyncio.run(sampler.sample(as_media(b"no video"), SampleTask(2, "uniform"), deadline=time.time() - 1))


def test_a_decoder_that_hangs_costs_its_own_call_only() -> None:
    sampler = FrameSamplerDeployment(FrameSamplerConfig())
    video = as_media(write_video(numbered_pictures(10)))
    sampler._sandbox.close()
    sampler._sandbox = Sandbox("tests.deployments.frame_sampler.endless_decoder", 2**28)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        asyncio.run(sampler.sample(video, SampleTask(2, "uniform"), deadline=time.time() + 0.3))
    assert time.monotonic() - started < 3
    sampler._sandbox.close()


def test_work_that_hangs_is_named_in_health_and_its_replica_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = FrameSamplerDeployment(FrameSamplerConfig())
    sampler.check_health()
    assert asyncio.run(sampler.overdue_detail()) == ""
    monkeypatch.setattr(sampler._threads, "overdue_s", lambda: 31.0)
    assert "31 s after its deadline" in asyncio.run(sampler.overdue_detail())
    with pytest.raises(RuntimeError, match="31 s after its deadline"):
        sampler.check_health()
