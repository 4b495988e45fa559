"""Sends the hostile corpus to a server: `python -m tests.hostile [--url URL]`.

Without --url it starts one with the miniatures. Prints a table, and ends with status 1 if there was a fault.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from deployments.project import project_folder
from samples.running_server import running_server
from tests.hostile.corpus import CORPUS
from tests.hostile.send import send_all, summary_lines, table_line


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--url", help="of a server that runs")
    parser.add_argument("--port", type=int, help="of the server that is started; default: a free one")
    parser.add_argument("--deadline", type=float, default=60.0, help="its REQUEST_TIMEOUT_SECONDS (default 60)")
    parser.add_argument("--only", help="only items whose name has these words")
    parser.add_argument("--quick", action="store_true", help="leave out the slow items")
    options = parser.parse_args(arguments)
    items = [
        item
        for item in CORPUS
        if (options.only or "") in f"{item.route} {item.name}" and not (options.quick and item.is_slow)
    ]
    env = {"REQUEST_TIMEOUT_SECONDS": f"{options.deadline:g}"}
    config = project_folder() / "config/mini.yaml"
    with ExitStack() as stack:
        server = None if options.url else stack.enter_context(running_server(config, env, options.port))
        url, pid = (server.url, server.pid) if server else (options.url, None)
        summary = send_all(url, items, options.deadline, pid, lambda result: _write(table_line(result)))
    for line in summary_lines(summary):
        _write(line)
    return 1 if summary.all_faults else 0


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
