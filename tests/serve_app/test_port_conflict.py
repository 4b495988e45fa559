"""A second server on the same port. A server here is a process, in place of the raylet, and its child that listens."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from serve_app.port_conflict import Listener, find_other_server, refuse_shared_port

LISTEN = """
import socket, sys, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print(server.getsockname()[1], flush=True)
time.sleep(60)
"""
RAYLET = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"

StartServer = Callable[..., tuple[psutil.Process, int]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares a port among listeners")


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts a server on a port, any by default; returns its raylet and the port."""
    started: list[subprocess.Popen[str]] = []

    def start(port: int = 0) -> tuple[psutil.Process, int]:
        command = [sys.executable, "-c", RAYLET, LISTEN, str(port)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        output = started[-1].stdout
        assert output is not None
        port = int(output.readline())
        time.sleep(0.05)  # the resolution of a process's age is 10 ms
        return psutil.Process(started[-1].pid), port

    yield start
    for process in started:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.communicate()


def test_the_younger_of_two_servers_finds_the_older_one_and_not_the_reverse(start_server: StartServer) -> None:
    older, port = start_server()
    younger, _ = start_server(port)
    found = find_other_server(younger)
    assert found is not None
    assert (found[0], found[1].ppid()) == (port, older.pid)
    assert find_other_server(older) is None


def test_servers_on_different_ports_do_not_mind_each_other(start_server: StartServer) -> None:
    start_server()
    other, _ = start_server()
    assert find_other_server(other) is None


def test_the_same_port_of_another_address_is_no_conflict() -> None:
    ours = Listener("127.0.0.1", 8000, 1)
    assert not ours.overlaps(Listener("192.0.2.1", 8000, 2))
    assert not ours.overlaps(Listener("127.0.0.1", 8001, 2))
    assert ours.overlaps(Listener("127.0.0.1", 8000, 2))
    assert ours.overlaps(Listener("0.0.0.0", 8000, 2))


def test_nothing_is_looked_up_outside_a_process_of_ray() -> None:
    refuse_shared_port()
