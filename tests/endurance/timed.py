"""The frame of the timed tests: clients send a mix of cases for some minutes, and then nothing may be wrong."""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import psutil
import requests

from tests.endurance.cases import Case, schedule
from tests.endurance.clients import Findings, ProgressLines, run_clients, write_problems, write_table
from tests.endurance.server import Server, add_server_options, server_under_test

QUIET_WITHIN_S = 10.0
"""How soon after the last client the server must be idle."""
IDLE_CPU_S = 0.3
"""CPU seconds in one second that an idle replica uses at most: it answers health checks."""


def run_timed(
    name: str,
    description: str | None,
    mix: Mapping[Case, int],
    arguments: Sequence[str] | None,
    *,
    prepare: Callable[[Server], None],
    finish: Callable[[Server, Findings], Sequence[str]],
) -> int:
    """Run the test `python -m tests.endurance.NAME`; returns the exit status.

    `mix` has the relative frequency of each case. `prepare` is called before the first request; `finish` after the last
    one, and returns what is wrong then. It is also checked that no process died, no work goes on and no file is left.
    """
    parser = argparse.ArgumentParser(f"python -m tests.endurance.{name}", description=description)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    add_server_options(parser)
    options = parser.parse_args(arguments)
    with server_under_test(options.url, options.port) as server:
        prepare(server)
        deaths_before = _deaths(server)
        cases = _TimedCases(mix, options.minutes * 60, options.seed)
        with ProgressLines(lambda: f"{cases.num_started} cases"):
            findings = run_clients(server.url, iter(cases), options.clients, options.seed)
        problems = _problems_afterwards(server, deaths_before)
        problems += finish(server, findings)
        problems += _problems_afterwards(server, deaths_before)
    write_table(findings)
    problems = [*findings.wrong, *dict.fromkeys(problems)]
    write_problems(problems)
    return 1 if problems else 0


class _TimedCases:
    """Iterates over cases in random order, as many of each as the mix says, until the time is over."""

    def __init__(self, mix: Mapping[Case, int], seconds: float, seed: int) -> None:
        self._mix = mix
        self._end = time.monotonic() + seconds
        self._rng = random.Random(seed)
        self.num_started = 0

    def __iter__(self) -> Iterator[Case]:
        while True:
            for case in schedule(self._mix, sum(self._mix.values()), self._rng):
                if time.monotonic() > self._end:
                    return
                self.num_started += 1
                yield case


def _problems_afterwards(server: Server, deaths_before: int) -> list[str]:
    """Return what is wrong with a server that nobody calls any more."""
    problems = []
    health = requests.get(f"{server.url}/api/health", timeout=10).json()
    if _deaths(server) != deaths_before or any(row["state"] != "running" for row in health["deployments"]):
        problems.append(f"Processes died: {health['deployments']}")
    end = time.monotonic() + QUIET_WITHIN_S
    while work := _running_work(server):
        if time.monotonic() > end:
            problems.append(f"{QUIET_WITHIN_S:g} s after the last request, work goes on: {'; '.join(work)}")
            break
    if files := server.left_files():
        problems.append(f"Temporary files are left: {', '.join(map(str, files))}")
    return problems


def _deaths(server: Server) -> int:
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
