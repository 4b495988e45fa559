"""Processes of the server that are lost, and a second server. Replicas killed in the middle of a request:
test_lost_replicas.py."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
import yaml

from deployments.project import project_folder
from prism.serve import server_command
from samples.running_server import RunningServer
from tests.e2e.client import DATA, answer_of, error_of, post_file, process_of, processes_of, replica_of
from tests.e2e.conftest import StartServer

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

RECOVERY_S = 15.0
"""How soon a lost process must be replaced (docs/reliability.md)."""


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> Iterator[RunningServer]:
    """A server of its own, since these tests leave traces in its history."""
    with start_server() as running:
        yield running


def wait_until(condition: Callable[[], object], seconds: float) -> float:
    """Wait until the condition holds; return how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds
        time.sleep(0.1)
    return time.monotonic() - start


def is_answering(url: str) -> bool:
    try:
        return requests.get(f"{url}/livez", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def health(server: RunningServer) -> dict[str, object]:
    body: dict[str, object] = requests.get(f"{server.url}/api/health", timeout=10).json()
    return body


def deployment(server: RunningServer, name: str) -> dict[str, object]:
    reports = health(server)["deployments"]
    assert isinstance(reports, list)
    [report] = [report for report in reports if report["name"] == name]
    return dict(report)


def caption(server: RunningServer) -> requests.Response:
    return post_file(server.url, "image", DATA / "picture.jpg", max_length=5)


def clip(server: RunningServer) -> requests.Response:
    return post_file(server.url, "video", DATA / "clip.mp4", num_frames=1, max_length=5)


def test_a_killed_proxy_is_replaced_in_time(server: RunningServer) -> None:
    process_of(server.pid, "ProxyActor").kill()
    wait_until(lambda: not is_answering(server.url), 5)
    wait_until(lambda: is_answering(server.url), RECOVERY_S)
    answer_of(caption(server))


def test_an_idle_sampler_that_is_killed_is_replaced_in_time_and_its_death_is_counted(server: RunningServer) -> None:
    replica_of(server.pid, "FrameSampler").kill()
    start = time.monotonic()
    answer_of(clip(server))
    assert time.monotonic() - start < RECOVERY_S
    wait_until(lambda: deployment(server, "FrameSampler")["state"] == "running", RECOVERY_S)
    report = deployment(server, "FrameSampler")
    assert report["deaths"] == 1
    assert "Its process ended at" in str(report["detail"])


def test_without_serves_controller_requests_are_answered_and_it_comes_back(server: RunningServer) -> None:
    controller = process_of(server.pid, "ServeController")
    controller.kill()
    for _ in range(3):
        answer_of(caption(server))
    wait_until(lambda: not controller.is_running() and processes_of(server.pid, "ServeController"), RECOVERY_S)
    # The new controller replaces a lost replica as the old one did. While it still finds out what runs, a replica that
    # dies looks to it like one that cannot be started, so requests may be refused meanwhile.
    replica_of(server.pid, "FrameSampler").kill()
    wait_until(lambda: clip(server).status_code == 200, 2 * RECOVERY_S)


@pytest.mark.slow
def test_a_crash_loop_is_counted_and_named_and_callers_are_told_at_once(server: RunningServer) -> None:
    for _ in range(3):
        wait_until(lambda: deployment(server, "Captioner")["state"] == "running", 2 * RECOVERY_S)
        deaths = deployment(server, "Captioner")["deaths"]
        replica_of(server.pid, "Captioner").send_signal(signal.SIGSEGV)
        wait_until(lambda before=deaths: deployment(server, "Captioner")["deaths"] != before, RECOVERY_S)  # type: ignore[misc]
    start = time.monotonic()
    error = error_of(caption(server), 503)
    assert time.monotonic() - start < 2
    assert error["code"] == "MODEL_NOT_LOADED"
    assert "times in a row" in error["message"]
    assert "Segmentation fault" in error["message"]
    assert health(server)["status"] == "degraded"
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 503
    # Nothing crashes it any more, so it comes back by itself.
    wait_until(lambda: requests.get(f"{server.url}/readyz", timeout=10).status_code == 200, 2 * RECOVERY_S)
    answer_of(caption(server))
    assert deployment(server, "Captioner")["deaths"] == 3


def port_of(server: RunningServer) -> int:
    return int(server.url.rpartition(":")[2])


@pytest.mark.slow
def test_a_second_server_on_the_same_port_does_not_start(server: RunningServer, tmp_path: Path) -> None:
    document = yaml.safe_load((project_folder() / "config/mini.yaml").read_text())
    document["http_options"]["port"] = port_of(server)
    path = tmp_path / "second.yaml"
    path.write_text(yaml.safe_dump(document))
    run = subprocess.run(
        server_command(path), cwd=project_folder(), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert "cannot be used" in run.stderr

    # `serve run` itself has no such check. It must end soon, and say why.
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.serve.scripts", "run", str(path)],
        cwd=project_folder(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        for leftover in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            leftover.kill()
        process.kill()
    assert f"Port {port_of(server)} belongs to process" in output
    for _ in range(20):
        assert is_answering(server.url)
