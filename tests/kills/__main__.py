"""Runs the kills: `python -m tests.kills [--kills 200] [--seed 1] [--postgres]`."""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from tests.kills.checks import Known, check, replay
from tests.kills.victim import run_victim
from tests.postgres_server import running_postgres

MAX_REPORTS = 60
"""A process is killed after so many reports, at most, and a moment more."""
MAX_DELAY_S = 0.05


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="rows, words and vectors are in a Postgres server")
    parser.add_argument("--encrypted", action="store_true", help="with an encrypted library")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    known = Known()
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database_url = ""
        if options.postgres:
            database_url = stack.enter_context(running_postgres()).new_database()
        # Many attempts: a process that is killed often is not the file's fault.
        config = LibraryConfig(
            folder=folder / "library",
            database_url=SecretStr(database_url),
            encryption_key=SecretStr("a key for the kills") if options.encrypted else None,
            max_attempts=options.kills + 1,
        )
        for kill in range(options.kills):
            reports = kill_once(config, rng, known)
            library = Library(config, lock_wait_s=20)
            try:
                for call in known.note(reports):
                    replay(library, known, call)
                check(library, known)
            except AssertionError:
                sys.stdout.write(f"After kill {kill + 1} of seed {options.seed}:\n")
                raise
            finally:
                library.close()
    interrupted = ", ".join(f"{name} {count}" for name, count in sorted(known.interrupted.items()))
    sys.stdout.write(
        f"{options.kills} kills in {time.monotonic() - started:.0f} s, seed {options.seed}: nothing acknowledged was "
        f"lost, nothing deleted was shown. {known.calls} calls were acknowledged ({len(known.files) + len(known.gone)} "
        f"files, {len(known.completed)} indexed, {len(known.gone)} deleted); interrupted and replayed: {interrupted}.\n"
    )
    return 0


def kill_once(config: LibraryConfig, rng: random.Random, known: Known) -> list[dict[str, Any]]:
    """Start a process on the library, kill it, and return its reports."""
    reading, writing = os.pipe()
    seed = rng.randrange(2**32)
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            run_victim(config, writing, seed, dict(known.files), known.next_number)
        finally:
            os._exit(1)  # a victim that ends by itself is an error, and its reports stop
    os.close(writing)
    with os.fdopen(reading) as pipe:
        # One in five is killed while it opens the library; the others after they have begun to work.
        num_reports = 0 if rng.random() < 0.2 else rng.randint(1, MAX_REPORTS)
        lines = [pipe.readline() for _ in range(num_reports)]
        time.sleep(rng.uniform(0.0, MAX_DELAY_S))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        lines += pipe.readlines()
    if not os.WIFSIGNALED(status):
        raise AssertionError("the process ended before it was killed; its traceback is above")
    return [json.loads(line) for line in lines if line]


if __name__ == "__main__":
    sys.exit(main())
