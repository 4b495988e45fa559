"""`prism benchmark`: measure a model on this machine."""

import argparse
from collections.abc import Sequence

from prism.tools import import_tool

MODELS = ("captioner", "transcriber")


def main(arguments: Sequence[str] | None = None, prog: str = "prism benchmark") -> int:
    """Run the benchmark of one model with the remaining arguments; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog,
        usage=f"{prog} [-h] {{{','.join(MODELS)}}} ...",
        description="Measures the speed and memory of a model on this machine. No weights are needed: by default they "
        f"are random, in the sizes of the real model. `{prog} captioner --help` describes the options.",
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="options of that benchmark")
    options = parser.parse_args(arguments)
    module = import_tool(f"benchmarks.{options.model}")
    status: int = module.main(options.arguments, f"{prog} {options.model}")
    return status
