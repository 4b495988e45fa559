"""Nobody can take the server away from others: long work, slow senders, many clients, foreign pages, odd headers."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image

from samples.running_server import RunningServer
from serve_app.odd_headers import PROXY_VARIABLE
from tests.e2e.client import DATA, ORIGIN, answer_of, error_of, replica_of
from tests.e2e.conftest import StartServer
from tests.e2e.test_limits import wait_until_idle

pytestmark = pytest.mark.e2e

ENDLESS = {"num_frames": "32", "max_length": "1024", "prompt": "What happens next in this scene?"}
"""Options of a video that keeps the captioner busy for much longer than any test waits."""


def picture(seed: int) -> bytes:
    """Return a small picture that no cache knows."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).resize((320, 240)).save(file, "PNG")
    return file.getvalue()


def post_picture(url: str, seed: int, headers: Mapping[str, str | bytes] | None = None) -> requests.Response:
    return requests.post(
        f"{url}/api/analyze/image",
        files={"image": picture(seed)},
        data={"max_length": "20"},
        headers={"Origin": ORIGIN, **(headers or {})},
        timeout=120,
    )


@contextmanager
def clients_that_leave(post: Callable[[], object], num_clients: int) -> Iterator[None]:
    """Run `post` in that many threads; the block's end waits for them, so `post` must have a timeout."""
    threads = [threading.Thread(target=post) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("num_videos", [1, 8])
def test_pictures_do_not_wait_for_the_end_of_long_videos(talkative: RunningServer, num_videos: int) -> None:
    """How soon they are answered is a figure, not a test; here they are answered before any video has ended."""
    url = talkative.url
    video = (DATA / "clip.mp4").read_bytes()
    ended = threading.Event()

    def post_video() -> None:
        try:
            requests.post(f"{url}/api/analyze/video", files={"video": video}, data=ENDLESS, timeout=40)
        except requests.Timeout:
            pass
        ended.set()

    with clients_that_leave(post_video, num_videos):
        for seed in range(10):
            answer_of(post_picture(url, 2000 + 100 * num_videos + seed))
        assert not ended.is_set()


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)


def test_slow_senders_keep_nobody_from_being_served(url: str) -> None:
    head = (
        f"POST /api/analyze/image HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n--b\r\n"
    )
    with ExitStack() as connections:
        slow = [connections.enter_context(connect(url)) for _ in range(80)]
        for sender in slow:
            sender.sendall(head.encode())
        time.sleep(3)
        for seed in range(5):
            for sender in slow:
                try:
                    sender.sendall(b"x")
                except OSError:
                    pass  # it has lost its place
            started = time.perf_counter()
            answer_of(post_picture(url, 3000 + seed))
            assert time.perf_counter() - started < 5


def test_of_sixty_clients_nearly_all_get_in_at_their_first_retry(url: str) -> None:
    def post_until_served(number: int) -> int:
        for num_retries in range(20):
            response = post_picture(url, 4000 + number)
            if response.status_code == 200:
                return num_retries
            assert error_of(response, 503)["code"] == "SERVER_BUSY"
            time.sleep(int(response.headers["Retry-After"]))
        raise AssertionError("never served")

    for seed in range(10):
        post_picture(url, 5000 + seed)
    with ThreadPoolExecutor(60) as clients:
        num_retries = list(clients.map(post_until_served, range(60)))
    assert sum(number <= 1 for number in num_retries) >= 54


@pytest.mark.parametrize(
    "name",
    [
        "X-Request-ID",
        "x-session-id",
        "serve_multiplexed_model_id",
        "x-request-timeout-seconds",
        "x-request-disconnect-disabled",
    ],
)
@pytest.mark.parametrize("value", [b"\xff\xfe", b"1", b"x" * 5000], ids=["not UTF-8", "1", "long"])
def test_headers_of_serve_do_no_harm(url: str, name: str, value: bytes) -> None:
    response = post_picture(url, 1, {name: value})
    answer_of(response)
    assert len(response.headers["X-Request-ID"]) <= 128


@pytest.mark.slow
def test_a_client_that_leaves_stops_its_work_also_where_serve_does_not_look(
    start_server: StartServer, talkative_model: str
) -> None:
    """A plain `serve run`, whose proxy passes Serve's own headers on."""
    args = {"captioner": {"model": talkative_model, "answer_cache_mb": 0}}
    with start_server(args, {PROXY_VARIABLE: ""}) as server:
        captioner = replica_of(server.pid, "Captioner")
        with (DATA / "clip.mp4").open("rb") as file, pytest.raises(requests.exceptions.ReadTimeout):
            requests.post(
                f"{server.url}/api/analyze/video",
                files={"video": file},
                data=ENDLESS,
                headers={"x-request-disconnect-disabled": "?1"},
                timeout=6,
            )
        wait_until_idle(captioner)


def test_headers_that_are_too_large_are_refused_in_json(url: str) -> None:
    assert error_of(post_picture(url, 1, {"X-Large": "x" * 2**20}), 400)["code"] == "INVALID_REQUEST"


def test_foreign_pages_are_refused(url: str) -> None:
    for headers in ({"Host": "rebound.example"}, {"Origin": "http://elsewhere.example"}):
        for method, path in (("POST", "/api/analyze/image"), ("GET", "/api/health"), ("OPTIONS", "/nothing")):
            response = requests.request(method, url + path, headers=headers, timeout=20)
            assert response.status_code == 403
            assert response.json()["error"]["code"] == "FORBIDDEN"


def test_foreign_websocket_handshakes_are_refused(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nOrigin: http://elsewhere.example\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        status, _, _ = connection.recv(4096).partition(b"\r\n")
    assert b" 403 " in status
