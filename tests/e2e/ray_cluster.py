"""Several Ray nodes on this machine, each with an object store of its own."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from deployments.project import project_folder
from samples.running_server import free_port

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 40.0
"""A node drains for 30 s at most."""


@contextmanager
def ray_cluster(num_nodes: int, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run a head node and further ones until the block ends; yields the environment of a program that uses them.

    The replicas have the environment of their node.
    """
    with tempfile.TemporaryDirectory(prefix="rc-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "token").write_text(secrets.token_hex(32))
        address = f"127.0.0.1:{free_port()}"
        env = {
            **environment,
            "RAY_TMPDIR": str(folder / "ray"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_ADDRESS": address,
        }
        options = ["--num-cpus=2", "--object-store-memory=200000000", "--disable-usage-stats", "--block"]
        head = ["--head", f"--port={address.rpartition(':')[2]}", f"--ray-client-server-port={free_port()}"]
        nodes: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(num_nodes):
                log = folder / f"{number}.log"
                where = [*head, "--include-dashboard=false"] if number == 0 else [f"--address={address}"]
                nodes.append(_start([*where, *options], {**os.environ, **env}, log))
                _wait_until_started(log)
            yield env
        finally:
            for node in reversed(nodes):
                _stop(node)


def _start(arguments: list[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).parent / "ray"), "start", *arguments]
    without_address = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=project_folder(), env=without_address, stdout=output, stderr=subprocess.STDOUT
        )


def _wait_until_started(log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while "Ray runtime started" not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def _stop(node: "subprocess.Popen[bytes]") -> None:
    descendants = psutil.Process(node.pid).children(recursive=True) if node.poll() is None else []
    node.terminate()
    try:
        node.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()
    _, alive = psutil.wait_procs(descendants, timeout=5)
    for leftover in alive:
        leftover.kill()
