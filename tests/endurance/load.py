"""`python -m tests.endurance.load`: ten mixed clients at once, for ten minutes, the content of every answer checked.

Exit status 0: every answer was documented and right, no process died, and when the clients are gone, no work goes on
and no temporary file is left. SERVER_BUSY is legal; clients come again when its Retry-After says so.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence

import psutil
import requests

from tests.endurance.cases import LOAD_MIX, Case, schedule
from tests.endurance.clients import ProgressLines, run_clients, settle_doubts, write_problems, write_table
from tests.endurance.server import Server, add_server_options, require_miniatures, server_under_test

QUIET_WITHIN_S = 10.0
"""How soon after the last client the server must be idle."""
IDLE_CPU_S = 0.3
"""CPU seconds in one second that an idle replica uses at most: it answers health checks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load test; returns the exit status."""
    parser = argparse.ArgumentParser("python -m tests.endurance.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    add_server_options(parser)
    options = parser.parse_args(arguments)
    with server_under_test(options.url, options.port) as server:
        require_miniatures(server)
        deaths_before = deaths(server)
        cases = _Timed(options.minutes * 60, options.seed)
        with ProgressLines(lambda: f"{cases.num_started} requests"):
            findings = run_clients(server.url, iter(cases), options.clients, options.seed)
        problems = problems_afterwards(server, deaths_before)
        settle_doubts(server.url, findings)
        problems += problems_afterwards(server, deaths_before)
    write_table(findings)
    problems = [*findings.wrong, *problems]
    write_problems(problems)
    return 1 if problems else 0


class _Timed:
    """Iterates over cases in the proportions of the mix, until the time is over."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._end = time.monotonic() + seconds
        self._rng = random.Random(seed)
        self.num_started = 0

    def __iter__(self) -> Iterator[Case]:
        while True:
            for case in schedule(LOAD_MIX, sum(LOAD_MIX.values()), self._rng):
                if time.monotonic() > self._end:
                    return
                self.num_started += 1
                yield case


def problems_afterwards(server: Server, deaths_before: int) -> list[str]:
    """Return what is wrong with a server that nobody calls any more."""
    problems = []
    health = requests.get(f"{server.url}/api/health", timeout=10).json()
    if deaths(server) != deaths_before or any(row["state"] != "running" for row in health["deployments"]):
        problems.append(f"Processes died: {health['deployments']}")
    end = time.monotonic() + QUIET_WITHIN_S
    while work := _running_work(server):
        if time.monotonic() > end:
            problems.append(f"{QUIET_WITHIN_S:g} s after the last request, work goes on: {'; '.join(work)}")
            break
    if files := server.left_files():
        problems.append(f"Temporary files are left: {', '.join(map(str, files))}")
    return problems


def deaths(server: Server) -> int:
    health = requests.get(f"{server.url}/api/health", timeout=10).json()
    return sum(row["deaths"] for row in health["deployments"])


def _running_work(server: Server) -> list[str]:
    """Watch the server for a second; return the replicas that work, and the processes that decode a file."""
    before = {process: _cpu_seconds(process) for process in server.processes()}
    time.sleep(1)
    work = []
    for process in server.processes():
        try:
            words = process.cmdline()
            parent = process.parent()
            if "deployments.sandbox.server" in words and parent and "deployments.sandbox.server" in parent.cmdline():
                work.append(f"{words[-1]} decodes in process {process.pid}")
            elif words and words[0].startswith("ray::ServeReplica"):
                used = _cpu_seconds(process) - before.get(process, 0.0)
                if used > IDLE_CPU_S:
                    work.append(f"{words[0]} used {used:.2f} s of CPU time in 1 s")
        except psutil.NoSuchProcess:
            continue
    return work


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


if __name__ == "__main__":
    sys.exit(main())
