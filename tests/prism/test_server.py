"""The port that the server's process reserves, and its end; the rest of that is in tests/e2e/test_stopping.py."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import ray

from prism.server import PortInUse, Server, reserve_port
from samples.running_server import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the port is only reserved on Linux")


def listen_as_serve_does(port: int) -> socket.socket:
    proxy = socket.socket()
    proxy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    proxy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    proxy.bind(("127.0.0.1", port))
    proxy.listen()
    return proxy


def test_a_port_is_reserved_once() -> None:
    port = free_port()
    with reserve_port("127.0.0.1", port):
        with pytest.raises(PortInUse, match=str(port)):
            reserve_port("127.0.0.1", port)
    reserve_port("127.0.0.1", port).close()


def test_a_port_with_a_server_cannot_be_reserved() -> None:
    port = free_port()
    with listen_as_serve_does(port), pytest.raises(PortInUse):
        reserve_port("127.0.0.1", port)


def test_serves_proxy_can_bind_the_reserved_port_and_gets_all_connections_even_after_a_restart() -> None:
    port = free_port()
    with reserve_port("127.0.0.1", port):
        for _ in range(2):
            with listen_as_serve_does(port) as proxy:
                clients = [socket.create_connection(("127.0.0.1", port), timeout=2) for _ in range(20)]
                for client in clients:
                    proxy.accept()[0].close()  # the side that closes first keeps the port in TIME_WAIT
                    client.close()


def test_a_signal_while_the_last_processes_are_killed_leaves_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path / "serve.yaml")
    monkeypatch.setattr(server, "_is_stopping", True)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    monkeypatch.setattr(ray, "shutdown", interrupt.start)
    with subprocess.Popen(["sleep", "60"]) as stubborn:
        try:
            signal.signal(signal.SIGINT, server._stop)
            server._end_processes()
            interrupt.join()
            assert not psutil.pid_exists(stubborn.pid)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            stubborn.kill()
