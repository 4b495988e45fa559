"""Measures whether questions find the right place: `prism benchmark search quality [FOLDER]`.

FOLDER has a `cases.json` (benchmarks/search_cases.py describes its form) and the files that it names; without it, the
project's own small set is taken. All files of the cases are put into one library. With `--url` that is a running
server's, which keeps them; else a new one in this process, with the models of `--config` and no Ray.

A result is right if it is on the right page, under the right heading or at the right time; `recall@1` and `recall@5`
are the fractions of questions with a right result that is the first, or among the first five. nDCG@10 counts the first
right result only. `precise` is the fraction of right results whose boxes cover half of the right box, or whose start is
within a second of the right one.
"""

import argparse
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.project import project_folder
from serve_app.serve_yaml import read_serve_yaml, settings_of

from .search_cases import Case, Result, read_cases
from .search_targets import InProcess, SearchTarget, Server

OWN_CASES = project_folder() / "benchmarks" / "search_files"
LIMIT = 10


@dataclass(frozen=True)
class Outcome:
    case: Case
    rank: int | None
    """Of the first right result, from 1; None if there is none among the first ten."""
    is_precise: bool | None
    has_words: bool
    best: Result | None
    """The first right result, or else the first result."""

    @property
    def gain(self) -> float:
        """nDCG@10 with one right result."""
        return 0.0 if self.rank is None else 1 / math.log2(1 + self.rank)


def ask(target: SearchTarget, case: Case) -> Outcome:
    results = target.search(case.question, LIMIT)
    for rank, result in enumerate(results, 1):
        if case.is_right(result):
            return Outcome(case, rank, case.is_precise(result), case.has_words(result), result)
    return Outcome(case, None, None, False, results[0] if results else None)


def describe(outcome: Outcome) -> str:
    """Return one line about a case: its rank, whether the place is precise, and where the result is."""
    precise = {True: "precise", False: "NOT PRECISE", None: ""}[outcome.is_precise]
    words = "" if outcome.has_words or outcome.rank is None else "WITHOUT ITS WORDS"
    where = "nothing found"
    if outcome.best is not None:
        info = {key: value for key, value in outcome.best.source_info.items() if key not in ("type", "boxes")}
        where = f"{outcome.best.similarity:.2f} {outcome.best.filename} {info}"
    rank = "-" if outcome.rank is None else str(outcome.rank)
    return f"{outcome.case.id:>5} {outcome.case.kind:8} rank {rank:>2}  {precise:11} {words:17} {where}"


def summary(title: str, outcomes: Sequence[Outcome]) -> str:
    ranks = [outcome.rank for outcome in outcomes]
    precise = [outcome.is_precise for outcome in outcomes if outcome.is_precise is not None]
    figures = [
        f"recall@1 {statistics.mean(rank == 1 for rank in ranks):.3f}",
        f"recall@5 {statistics.mean(rank is not None and rank <= 5 for rank in ranks):.3f}",
        f"nDCG@10 {statistics.mean(outcome.gain for outcome in outcomes):.3f}",
        f"precise {statistics.mean(precise):.3f} of {len(precise)}" if precise else "",
    ]
    return f"{title:10} {len(outcomes):4} questions  {'  '.join(figures)}"


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(options: Sequence[str] | None = None, prog: str = "python -m benchmarks.search quality") -> int:
    """Print a line for each case and the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=OWN_CASES, help="folder with cases.json")
    parser.add_argument("--url", help="a running server, such as http://127.0.0.1:8000 (default: in this process)")
    parser.add_argument("--config", type=Path, default=Path("config/mini.yaml"), help="models for this process")
    arguments = parser.parse_args(options)
    cases = read_cases(arguments.folder)
    config = settings_of(read_serve_yaml(arguments.config))
    target: SearchTarget = Server(arguments.url) if arguments.url else InProcess(config)
    try:
        for file in dict.fromkeys(case.file for case in cases):
            target.add(arguments.folder / file)
        for failure in target.wait():
            say(f"FAILED {failure}")
        outcomes = [ask(target, case) for case in cases]
    finally:
        target.close()
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        say(describe(outcome))
        by_kind[outcome.case.kind].append(outcome)
    by_kind.pop("abstain", None)
    for kind, some in by_kind.items():
        say(summary(kind, some))
    say(summary("all", [outcome for some in by_kind.values() for outcome in some]))
    return 0
