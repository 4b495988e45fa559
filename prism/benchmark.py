"""`prism benchmark`: measure a model, or the whole server, on this machine."""

import argparse
import os
from collections.abc import Sequence

from prism.tools import import_tool

SUBJECTS = ("captioner", "transcriber", "speech", "speakers", "search", "answers", "fairness", "live", "encryption")


def main(arguments: Sequence[str] | None = None, prog: str = "prism benchmark") -> int:
    """Run one benchmark with the remaining arguments; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog,
        usage=f"{prog} [-h] {{{','.join(SUBJECTS)}}} ...",
        description="Measures the speed and memory of a model on this machine. No weights are needed: by default they "
        "are random, in the sizes of the real model. `fairness` measures how long short requests wait beside long "
        "ones, `answers` whether answers and citations are right, `speech` how many words are transcribed wrongly, "
        "`speakers` how well speakers are told apart, `live` how soon streams begin, "
        "`encryption` what an encrypted library costs. "
        f"`{prog} captioner --help` describes the options.",
    )
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="options of that benchmark")
    options = parser.parse_args(arguments)
    # As in the deployments: numpy's matrix products run in the thread that asks for them. Read when numpy is imported.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    module = import_tool(f"benchmarks.{options.subject}")
    status: int = module.main(options.arguments, f"{prog} {options.subject}")
    return status
