"""Finds out whether another server already has the port of this one.

Serve's HTTP proxies bind their port with SO_REUSEPORT, so a second server starts without an error, and Linux gives each
of them half of the requests. `prism serve` reserves the port before it starts anything. This is for people who type
`serve run`: nothing of ours runs before the proxy does, so the first that can notice is the process that binds the
graph.
"""

import os
import signal
import sys
from dataclasses import dataclass

import psutil

WILDCARDS = {"0.0.0.0", "::"}


class PortConflict(Exception):
    """Another server has the port of this one."""


@dataclass(frozen=True)
class Listener:
    """A process that listens on an address."""

    host: str
    port: int
    pid: int

    def overlaps(self, other: "Listener") -> bool:
        """Return whether a client could reach either of them by the same address."""
        return self.port == other.port and (self.host == other.host or bool({self.host, other.host} & WILDCARDS))


def refuse_shared_port() -> None:
    """Raise PortConflict, and end `serve run`, if an older server listens on the port of this one's proxy.

    Does nothing outside Ray's worker processes, whose parent is the raylet.
    """
    raylet = psutil.Process(os.getppid())
    if raylet.name() != "raylet":
        return
    other = find_other_server(raylet)
    if other is None:
        return
    port, process = other
    message = (
        f"Port {port} belongs to process {process.pid} ({' '.join(process.cmdline())[:80]}). A second server would "
        "take half of its requests, so this one stops. Stop the other one, or change http_options.port."
    )
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    launcher = launcher_of(raylet)
    if launcher is not None:
        launcher.send_signal(signal.SIGINT)
    raise PortConflict(message)


def launcher_of(raylet: psutil.Process) -> psutil.Process | None:
    """Return the process of `serve run` or `prism serve` whose child the raylet is; None after `ray start`."""
    parent = raylet.parent()
    return parent if parent is not None and any("serve" in part for part in parent.cmdline()) else None


def find_other_server(raylet: psutil.Process) -> tuple[int, psutil.Process] | None:
    """Return a port that a process below `raylet` shares with an older process that is not, and that process.

    Of two servers that start at the same time, only the younger finds the other one.
    """
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS, where only root may list them
        return None
    own_pids = {process.pid for process in raylet.children(recursive=True)}
    own: list[Listener] = []
    others: list[Listener] = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid is not None:
            listener = Listener(connection.laddr.ip, connection.laddr.port, connection.pid)
            (own if listener.pid in own_pids else others).append(listener)
    for other in others:
        if any(other.overlaps(listener) for listener in own):
            try:
                process = psutil.Process(other.pid)
                if process.create_time() < raylet.create_time():
                    return other.port, process
            except psutil.NoSuchProcess:
                continue
    return None
