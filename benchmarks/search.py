"""Measures the search library, part by part: `prism benchmark search PART [options]`.

quality   whether questions find the right place
indexing  seconds per page, picture and minute
upload    seconds until an upload is answered, and until each kind of file can be found
latency   search times and memory by the number of chunks
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

PARTS: Mapping[str, str] = {
    "quality": "search_quality",
    "indexing": "search_indexing",
    "upload": "search_upload",
    "latency": "search_latency",
}
"""The modules of the parts, by their names."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks.search") -> int:
    """Run one part with the remaining arguments; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="options of that part, such as --help")
    options = parser.parse_args(arguments)
    module = import_module(f".{PARTS[options.part]}", __package__)
    status: int = module.main(options.arguments, f"{prog} {options.part}")
    return status


if __name__ == "__main__":
    sys.exit(main())
