"""`python -m tests.endurance.soak`: whether the server's memory stays level over 20,000 mixed requests.

Exit status 0: the mean of the summed PSS of all processes over the last tenth of the requests is within 2 % of the mean
over the second tenth, and every answer was right. Pages of files are not judged (memory.py says why), but shown. The
caches of images and answers are made so small that they are full before the second tenth is over.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.endurance.cases import SOAK_MIX, Case, schedule
from tests.endurance.clients import Findings, ProgressLines, run_clients, settle_doubts, write_problems, write_table
from tests.endurance.memory import PERIOD_S, MemorySampler, Sample, by_tenths, mean
from tests.endurance.server import Server, add_server_options, require_miniatures, server_under_test

MAX_GROWTH = 0.02
SMALL_CACHES: Mapping[str, Mapping[str, Any]] = {"captioner": {"image_cache_mb": 20, "answer_cache_mb": 1}}
"""The defaults of 300 and 4 MB would fill up during the whole run. An answer takes 1 kB, so 1 MB is full after a
thousand pictures."""


@dataclass(frozen=True)
class Soak:
    """What one run found."""

    findings: Findings
    samples: Sequence[Sample]
    num_requests: int

    def tenths(self) -> list[list[Sample]]:
        return by_tenths(self.samples, self.num_requests)

    def growth_mb(self) -> float:
        """Return how much larger the mean of the last tenth is than that of the second, without pages of files.

        Raises ValueError without samples in one of them.
        """
        second, last = self.tenths()[1], self.tenths()[9]
        if not second or not last:
            raise ValueError("there are no memory samples of the second or of the last tenth: too few requests")
        return _mean(last, "own") - _mean(second, "own")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; returns the exit status."""
    parser = argparse.ArgumentParser("python -m tests.endurance.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, metavar="FILE", help="append each memory sample to FILE, in JSON")
    add_server_options(parser)
    options = parser.parse_args(arguments)
    with server_under_test(options.url, options.port, SMALL_CACHES) as server:
        require_miniatures(server)
        if server.process is None:
            parser.error(f"The processes of {server.url} are not on this machine, so their memory cannot be measured.")
        soak = run_soak(server, options.requests, options.clients, options.seed, file=options.samples)
    write_table(soak.findings)
    problems = [*soak.findings.wrong, *report_memory(soak)]
    write_problems(problems)
    return 1 if problems else 0


def run_soak(
    server: Server,
    num_requests: int,
    num_clients: int,
    seed: int,
    *,
    period_s: float = PERIOD_S,
    file: Path | None = None,
) -> Soak:
    """Send so many requests and sample the server's memory meanwhile."""
    cases = _Counted(schedule(SOAK_MIX, num_requests, random.Random(seed)))
    with MemorySampler(server, lambda: cases.num_started, period_s, file) as sampler:
        with ProgressLines(lambda: f"{cases.num_started} requests, {sampler.samples[-1].total:.0f} MB"):
            findings = run_clients(server.url, iter(cases), num_clients, seed)
    settle_doubts(server.url, findings)
    return Soak(findings, sampler.samples, num_requests)


class _Counted:
    """Iterates over the cases, and counts them."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self.num_started = 0

    def __iter__(self) -> Iterator[Case]:
        for case in self._cases:
            self.num_started += 1
            yield case


def report_memory(soak: Soak) -> list[str]:
    """Write the curve by tenths of the requests; returns a list with the problem if it is not level."""
    try:
        growth_mb = soak.growth_mb()
    except ValueError as error:
        return [f"The memory was not judged: {error}."]
    tenths = soak.tenths()
    second, last = tenths[1], tenths[9]
    columns = ("total", "file_pss", "own", "num_files", "num_threads")
    heads = ("PSS MB", "files MB", "own MB", "descriptors", "threads")
    sys.stdout.write(" ".join(f"{head:>11}" for head in ("tenth", "samples", *heads)) + "\n")
    for number, part in enumerate(tenths, start=1):
        if part:
            figures = " ".join(f"{_mean(part, column):11.1f}" for column in columns)
            sys.stdout.write(f"{number:11d} {len(part):11d} {figures}\n")
    growth = growth_mb / _mean(second, "own")
    pss_growth = _mean(last, "total") / _mean(second, "total") - 1
    sys.stdout.write(
        f"From the second tenth to the last: PSS {pss_growth:+.2%}; without pages of files {growth:+.2%} "
        f"({growth_mb:+.1f} MB).\n"
    )
    if abs(growth) <= MAX_GROWTH:
        return []
    _write_processes(tenths)
    return [f"The memory changed by {growth:+.2%} from the second tenth to the last; the bar is {MAX_GROWTH:.0%}."]


def _mean(samples: Sequence[Sample], figure: str) -> float:
    return mean([getattr(sample, figure) for sample in samples])


def _write_processes(tenths: Sequence[Sequence[Sample]]) -> None:
    names = sorted({name for part in tenths for sample in part for name in sample.pss})
    sys.stdout.write("Mean PSS of each process in MB, by tenths:\n")
    for name in names:
        means = [mean([sample.pss.get(name, 0.0) for sample in part]) for part in tenths if part]
        sys.stdout.write(f"{name[:44]:44} " + " ".join(f"{value:6.1f}" for value in means) + "\n")


if __name__ == "__main__":
    sys.exit(main())
