"""Bad input, other origins and busy replicas, on the real server."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from deployments.malloc import MALLOC_ENVIRONMENT
from samples.running_server import RunningServer
from tests.e2e.client import DATA, ORIGIN, answer_of, data_url, error_of, post_file, post_json, replica_of

pytestmark = pytest.mark.e2e

ANALYZE = ["image", "video", "audio", "batch"]
ENDLESS = {"num_frames": 32, "max_length": 1024, "prompt": "What happens next in this scene?"}
"""Options of a video that keeps the captioner busy for much longer than any test waits."""


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_every_bad_file_is_answered_in_json(url: str, kind: str, tmp_path: Path) -> None:
    text = tmp_path / "note.txt"
    text.write_text("just words " * 100)
    assert error_of(post_file(url, kind, text), 400)["code"] == "INVALID_FILE_TYPE"
    good = DATA / {"image": "picture.png", "video": "clip.mp4", "audio": "speech.flac"}[kind]
    broken = tmp_path / good.name
    broken.write_bytes(good.read_bytes()[:200])
    assert error_of(post_file(url, kind, broken), 400)["code"] == "INVALID_FILE"
    assert error_of(post_file(url, kind, good, colour="red"), 400)["code"] == "INVALID_REQUEST"
    assert "colour" in error_of(post_file(url, kind, good, colour="red"), 400)["message"]


def test_a_picture_over_ten_megabytes_is_refused_before_it_is_read(url: str) -> None:
    huge = 50 * 1024 * 1024
    with requests.Session() as session:
        request = requests.Request("POST", f"{url}/api/analyze/image", headers={"Origin": ORIGIN})
        prepared = session.prepare_request(request)
        prepared.headers.update({"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(huge)})
        response = session.send(prepared, timeout=30)
    error = error_of(response, 413)
    assert error["code"] == "FILE_TOO_LARGE"
    assert "10 MB" in error["message"]


def test_a_chunked_body_is_refused_when_it_has_grown_too_large(url: str) -> None:
    def body() -> object:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(12):
            yield bytes(1024 * 1024)

    headers = {"Origin": ORIGIN, "Content-Type": "multipart/form-data; boundary=b"}
    response = requests.post(f"{url}/api/analyze/image", data=body(), headers=headers, timeout=60)
    assert error_of(response, 413)["code"] == "FILE_TOO_LARGE"


def test_unknown_paths_and_methods_are_answered_in_json(url: str) -> None:
    headers = {"Origin": ORIGIN}
    assert error_of(requests.get(f"{url}/nowhere", headers=headers, timeout=10), 404)["code"] == "NOT_FOUND"
    wrong_method = requests.get(f"{url}/api/analyze/image", headers=headers, timeout=10)
    assert error_of(wrong_method, 405)["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("kind", ANALYZE)
def test_a_browser_may_ask_before_it_posts(url: str, kind: str) -> None:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-request-id",
    }
    response = requests.options(f"{url}/api/analyze/{kind}", headers=headers, timeout=10)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    foreign = requests.options(
        f"{url}/api/analyze/{kind}", headers={**headers, "Origin": "http://elsewhere.example"}, timeout=10
    )
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_health_reports_miniatures_as_degraded(url: str) -> None:
    body = requests.get(f"{url}/api/health", timeout=10).json()
    assert body["status"] == "degraded"
    assert body["models_loaded"] is True
    miniatures = [model for model in body["models"] if model["is_miniature"]]
    assert [model["name"] for model in miniatures] == ["moondream-mini", "whisper-mini"]
    assert all(model["state"] == "loaded" and model["threads"] >= 1 for model in miniatures)
    for command in ("prism weights fetch", "prism serve"):
        assert all(command in model["detail"] for model in miniatures)
    assert body["usage_stats_enabled"] is False


def test_health_reports_the_memory_of_all_processes(server: RunningServer, url: str) -> None:
    end = time.monotonic() + 20
    while (reported := _reported_memory_mb(url)) != pytest.approx(_used_memory_mb(server), rel=0.15):
        assert time.monotonic() < end, f"{reported} MB reported, {_used_memory_mb(server)} MB used"
        time.sleep(1)


def _reported_memory_mb(url: str) -> float:
    reported: float = requests.get(f"{url}/api/health", timeout=10).json()["system_info"]["memory_usage_mb"]
    return reported


def _used_memory_mb(server: RunningServer) -> float:
    everything = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    figures = [process.memory_full_info() for process in everything]
    return sum(getattr(figure, "pss", 0) or figure.rss for figure in figures) / 2**20


def test_the_captioner_is_started_with_the_malloc_settings_that_save_memory(server: RunningServer) -> None:
    assert MALLOC_ENVIRONMENT.items() <= replica_of(server.pid, "Captioner").environ().items()


def test_no_process_connects_to_another_machine(server: RunningServer, url: str) -> None:
    answer_of(post_file(url, "video", DATA / "clip.mp4", num_frames=1, max_length=5, include_audio="true"))
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    everything = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    connections = [connection for process in everything for connection in process.net_connections("inet")]
    remote = {connection.raddr.ip.removeprefix("::ffff:") for connection in connections if connection.raddr}
    assert remote
    assert remote <= own


def test_docs_name_no_other_host(url: str) -> None:
    page = requests.get(f"{url}/docs", timeout=10).text
    assert "http://" not in page.replace(url, "")
    assert "https://" not in page
    schema = requests.get(f"{url}/openapi.json", timeout=10).json()
    for kind in ("image", "video", "audio"):
        content = schema["paths"][f"/api/analyze/{kind}"]["post"]["requestBody"]["content"]
        assert set(content) == {"multipart/form-data", "application/json"}


def cpu_seconds_in(process: psutil.Process, wall_s: float) -> float:
    """Return the CPU time that a process and the processes in which it decodes files use in some time."""
    before = _cpu_seconds(process)
    time.sleep(wall_s)
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in _cpu_seconds(process).items())


def _cpu_seconds(process: psutil.Process) -> dict[int, float]:
    seconds = {}
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            seconds[one.pid] = times.user + times.system
    return seconds


def wait_until_idle(process: psutil.Process) -> None:
    """Return once a process works no more; the work of the tests goes on for minutes unless it is stopped."""
    end = time.monotonic() + 10
    while cpu_seconds_in(process, 0.5) > 0.1:
        assert time.monotonic() < end


def wait_until_busy(process: psutil.Process) -> None:
    end = time.monotonic() + 20
    while cpu_seconds_in(process, 0.3) < 0.1:
        assert time.monotonic() < end


def test_health_answers_while_both_slots_work_and_a_client_that_leaves_stops_its_work(
    talkative: RunningServer,
) -> None:
    url = talkative.url
    captioner = replica_of(talkative.pid, "Captioner")
    wait_until_idle(captioner)
    with ThreadPoolExecutor(2) as clients:
        posts = [clients.submit(_post_and_leave, url) for _ in range(2)]
        wait_until_busy(captioner)
        for _ in range(5):
            assert requests.get(f"{url}/api/health", timeout=5).json()["models_loaded"] is True
        assert cpu_seconds_in(captioner, 0.5) > 0.1
        for post in posts:
            post.result()
    wait_until_idle(captioner)
    answer_of(post_file(url, "image", DATA / "picture.jpg", max_length=5))


def _post_and_leave(url: str) -> None:
    with (DATA / "clip.mp4").open("rb") as file, pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{url}/api/analyze/video", files={"video": file}, data=ENDLESS, timeout=6)


def test_a_client_cannot_lift_the_deadline_with_serves_header(constrained: RunningServer) -> None:
    for headers in ({"x-request-timeout-seconds": "0"}, {"x-request-disconnect-disabled": "?1"}):
        with (DATA / "clip.mp4").open("rb") as file:
            response = requests.post(
                f"{constrained.url}/api/analyze/video",
                files={"video": file},
                data=ENDLESS,
                headers={"Origin": ORIGIN, **headers},
                timeout=60,
            )
        assert error_of(response, 504)["code"] == "TIMEOUT"


def test_the_deadline_ends_the_work_and_the_error_says_how_far_it_got(constrained: RunningServer) -> None:
    captioner = replica_of(constrained.pid, "Captioner")
    error = error_of(post_file(constrained.url, "video", DATA / "clip.mp4", **ENDLESS), 504)
    assert error["code"] == "TIMEOUT"
    assert "of 32 frames" in error["message"] or "of 30 frames" in error["message"]
    assert "REQUEST_TIMEOUT_SECONDS" in error["message"]
    wait_until_idle(captioner)


def test_a_batch_at_its_deadline_returns_what_is_done(constrained: RunningServer) -> None:
    files = [
        {"type": "image", "data": data_url(DATA / "picture.jpg"), "max_length": 5},
        {"type": "video", "data": data_url(DATA / "clip.mp4"), **ENDLESS},
        {"type": "image", "data": data_url(DATA / "picture.jpg"), "max_length": 5},
    ]
    body = answer_of(post_json(constrained.url, "batch", {"files": files}))
    outcomes = [result["result"].get("error", {}).get("code") for result in body["results"]]
    assert outcomes == [None, "TIMEOUT", "TIMEOUT"]


def test_requests_beyond_the_queue_are_refused_and_the_others_are_served(constrained: RunningServer) -> None:
    """One is worked on, one waits, the others are refused at once."""

    def post(_: int) -> requests.Response:
        return post_file(constrained.url, "image", DATA / "picture.jpg", max_length=400, prompt="And then?")

    with ThreadPoolExecutor(6) as clients:
        responses = list(clients.map(post, range(6)))
    served = [response for response in responses if response.status_code == 200]
    refused = [response for response in responses if response.status_code != 200]
    assert len(served) >= 2
    assert refused
    for response in refused:
        assert error_of(response, 503)["code"] == "SERVER_BUSY"
        assert int(response.headers["Retry-After"]) >= 1


def test_the_smaller_of_both_size_limits_wins(constrained: RunningServer, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes((DATA / "picture.png").read_bytes() + bytes(2 * 1024 * 1024))
    error = error_of(post_file(constrained.url, "image", large), 413)
    assert (error["code"], "1 MB" in error["message"]) == ("FILE_TOO_LARGE", True)


def test_a_model_that_cannot_be_fetched_says_so_with_the_commands_that_help(constrained: RunningServer) -> None:
    end = time.monotonic() + 60
    while "could not be loaded" not in (error := _audio_error(constrained))["message"]:
        assert time.monotonic() < end, error
        time.sleep(1)
    assert "prism weights fetch" in error["message"]
    assert "prism serve --mini" in error["message"]
    health = requests.get(f"{constrained.url}/api/health", timeout=10).json()
    assert health["models_loaded"] is False
    answer_of(post_file(constrained.url, "image", DATA / "picture.jpg", max_length=5))


def _audio_error(server: RunningServer) -> dict[str, str]:
    error = error_of(post_file(server.url, "audio", DATA / "speech.wav"), 503)
    assert error["code"] == "MODEL_NOT_LOADED"
    return error


def test_invalid_json_is_answered_in_json(url: str) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": "application/json"}
    response = requests.post(f"{url}/api/analyze/batch", data=json.dumps([1])[:-1], headers=headers, timeout=10)
    assert error_of(response, 400)["code"] == "INVALID_REQUEST"
