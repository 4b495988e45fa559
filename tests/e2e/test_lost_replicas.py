"""Replicas and decoders killed in the middle of a request: that request is answered or refused, the next ones work.

They are killed with SIGKILL, as the kernel does when memory runs out.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from samples.running_server import RunningServer
from tests.e2e.client import DATA, answer_of, decoders_of, error_of, post_file, replica_of
from tests.e2e.test_faults import RECOVERY_S, wait_until
from tests.e2e.test_limits import ENDLESS, cpu_seconds_in, wait_until_busy
from tests.videos import plain_picture, write_video

pytestmark = [pytest.mark.e2e, pytest.mark.faults]


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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose keyframes take seconds to find."""
    path = tmp_path_factory.mktemp("videos") / "long.mp4"
    pictures = [plain_picture((level, 128, 255 - level), 640, 480) for level in (0, 255)] * 300
    path.write_bytes(write_video(pictures, codec="mpeg4"))
    return path


def test_a_killed_frame_sampler_is_replaced(talkative: RunningServer, long_video: Path) -> None:
    options = {"num_frames": 2, "max_length": 5, "frame_sampling": "keyframes"}
    with ThreadPoolExecutor(1) as client:
        request = client.submit(post_file, talkative.url, "video", long_video, **options)
        kill_when_busy(replica_of(talkative.pid, "FrameSampler"), request)
    answered_or_unavailable(request.result())
    answer_of(post_file(talkative.url, "video", DATA / "clip.mp4", num_frames=1, max_length=5))


def test_a_lost_replica_costs_the_requests_of_others_nothing(talkative: RunningServer) -> None:
    options = {"num_frames": 30, "max_length": 60, "prompt": "What is shown?"}
    expected = answer_of(post_file(talkative.url, "video", DATA / "clip.mp4", **options))
    with ThreadPoolExecutor(1) as client:
        request = client.submit(post_file, talkative.url, "video", DATA / "clip.mp4", **options)
        wait_until_busy(replica_of(talkative.pid, "Captioner"))
        for name in ("FrameSampler", "Transcriber"):
            replica_of(talkative.pid, name).kill()
        assert not request.done()
    body = answer_of(request.result())
    assert [frame["description"] for frame in body["frames"]] == [frame["description"] for frame in expected["frames"]]
    wait_until_ready(talkative.url)
    answer_of(post_file(talkative.url, "video", DATA / "clip.mp4", num_frames=1, max_length=5, include_audio="true"))


def test_a_killed_ingress_is_replaced_and_the_work_of_its_requests_ends(talkative: RunningServer) -> None:
    """Requests in progress are lost with it: Serve's proxy answers them, in plain text."""
    expected = answer_of(post_file(talkative.url, "image", DATA / "picture.jpg", max_length=20))["description"]
    captioner = replica_of(talkative.pid, "Captioner")
    with ThreadPoolExecutor(1) as client:
        request = client.submit(post_file, talkative.url, "video", DATA / "clip.mp4", **ENDLESS)
        wait_until_busy(captioner)
        replica_of(talkative.pid, "Ingress").kill()
        start = time.monotonic()
        assert request.result(timeout=RECOVERY_S).status_code == 500
        again = post_file(talkative.url, "image", DATA / "picture.jpg", max_length=20)
        assert answer_of(again)["description"] == expected
        assert time.monotonic() - start < RECOVERY_S
    wait_until(lambda: cpu_seconds_in(captioner, 1) < 0.3, RECOVERY_S)
    wait_until_ready(talkative.url)


def test_a_decoder_that_is_killed_costs_its_own_request_only(talkative: RunningServer, long_video: Path) -> None:
    options = {"num_frames": 2, "max_length": 5, "frame_sampling": "keyframes"}
    sampler = replica_of(talkative.pid, "FrameSampler")
    with ThreadPoolExecutor(1) as client:
        request = client.submit(post_file, talkative.url, "video", long_video, **options)
        wait_until_busy(sampler)
        [_, decoder] = decoders_of(talkative.pid, "FrameSampler")
        decoder.kill()
    error = error_of(request.result(), 400)
    assert error["code"] == "INVALID_FILE"
    assert "makes its decoder crash" in error["message"]
    answer_of(post_file(talkative.url, "video", DATA / "clip.mp4", num_frames=1, max_length=5))
    assert replica_of(talkative.pid, "FrameSampler") == sampler


@pytest.mark.parametrize(
    ("deployment", "kind", "file"),
    [
        ("Captioner", "image", "picture.bmp"),
        ("FrameSampler", "video", "clip.mp4"),
        ("Transcriber", "audio", "speech.wav"),
    ],
)
def test_the_process_that_starts_decoders_is_started_again(
    talkative: RunningServer, deployment: str, kind: str, file: str
) -> None:
    replica = replica_of(talkative.pid, deployment)
    fork_server = decoders_of(talkative.pid, deployment)[0]  # decoders of earlier requests may still be ending
    fork_server.kill()
    options = {} if kind == "audio" else {"max_length": 5}
    answer_of(post_file(talkative.url, kind, DATA / file, **options))
    assert replica_of(talkative.pid, deployment) == replica
    assert decoders_of(talkative.pid, deployment)[0] != fork_server
