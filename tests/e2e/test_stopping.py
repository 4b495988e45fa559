"""SIGINT and SIGTERM in the middle of work."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from prism.server import STOP_TIMEOUT_S
from tests.e2e.client import DATA, answer_of, error_of, post_file, replica_of
from tests.e2e.conftest import StartServer
from tests.e2e.test_limits import ENDLESS, wait_until_busy

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_requests_in_progress_are_answered_or_told_503_and_no_process_is_left(
    start_server: StartServer, talkative_model: str, number: signal.Signals
) -> None:
    args = {"captioner": {"model": talkative_model, "answer_cache_mb": 0}}
    with start_server(args) as server, ThreadPoolExecutor(2) as clients:
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        endless = clients.submit(post_file, server.url, "video", DATA / "clip.mp4", **ENDLESS)
        wait_until_busy(replica_of(server.pid, "Captioner"))
        short = clients.submit(post_file, server.url, "image", DATA / "picture.jpg", max_length=250)
        time.sleep(0.3)
        assert not short.done()
        processes[0].send_signal(number)
        answer_of(short.result())
        assert "stopped" in error_of(endless.result(), 503)["message"]
        _, alive = psutil.wait_procs(processes, timeout=STOP_TIMEOUT_S)
        assert alive == []
