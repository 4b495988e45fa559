"""Replicas killed in the middle of a request: that request is answered, the next ones work."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from samples.running_server import RunningServer
from tests.e2e.client import DATA, answer_of, error_of, post_file, replica_of
from tests.e2e.test_limits import wait_until_busy
from tests.media import plain_picture, write_video

pytestmark = pytest.mark.e2e


def kill_when_busy(replica: psutil.Process, request: "Future[requests.Response]") -> None:
    wait_until_busy(replica)
    assert not request.done()
    replica.kill()


def answered_or_unavailable(response: requests.Response) -> bool:
    """Return whether the request was answered; otherwise it must have been refused as the contract says."""
    if response.status_code == 200:
        answer_of(response)
        return True
    error_of(response, 503)
    return False


def wait_until_ready(url: str) -> None:
    end = time.monotonic() + 60
    while requests.get(f"{url}/readyz", timeout=10).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_video_whose_captioner_is_killed_is_answered_by_the_next_one(talkative: RunningServer) -> None:
    options = {"num_frames": 30, "max_length": 60, "prompt": "What is shown?"}
    expected = answer_of(post_file(talkative.url, "video", DATA / "clip.mp4", **options))
    with ThreadPoolExecutor(1) as client:
        request = client.submit(post_file, talkative.url, "video", DATA / "clip.mp4", **options)
        kill_when_busy(replica_of(talkative.pid, "Captioner"), request)
    body = answer_of(request.result())
    assert [frame["description"] for frame in body["frames"]] == [frame["description"] for frame in expected["frames"]]
    wait_until_ready(talkative.url)


def test_a_killed_transcriber_is_replaced(talkative: RunningServer, tmp_path: Path) -> None:
    import wave

    long = tmp_path / "long.wav"
    with wave.open(str(DATA / "speech.wav")) as speech, wave.open(str(long), "wb") as file:
        file.setparams(speech.getparams())
        file.writeframes(speech.readframes(speech.getnframes()) * 80)
    with ThreadPoolExecutor(1) as client:
        request = client.submit(post_file, talkative.url, "audio", long)
        kill_when_busy(replica_of(talkative.pid, "Transcriber"), request)
    answered_or_unavailable(request.result())
    wait_until_ready(talkative.url)
    answer_of(post_file(talkative.url, "audio", DATA / "speech.wav"))


def test_a_killed_frame_sampler_is_replaced(talkative: RunningServer, tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    pictures = [plain_picture((level, 128, 255 - level), 640, 480) for level in (0, 255)] * 300
    long.write_bytes(write_video(pictures, codec="mpeg4"))
    options = {"num_frames": 2, "max_length": 5, "frame_sampling": "keyframes"}
    with ThreadPoolExecutor(1) as client:
        request = client.submit(post_file, talkative.url, "video", long, **options)
        kill_when_busy(replica_of(talkative.pid, "FrameSampler"), request)
    answered_or_unavailable(request.result())
    answer_of(post_file(talkative.url, "video", DATA / "clip.mp4", num_frames=1, max_length=5))
