"""The command line: `prism COMMAND ...`.

Each command imports what it needs when it runs, so that `prism --help` answers at once.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from deployments.project import is_installed
from serve_app import __version__

DESCRIPTION = """\
Image, video and audio understanding behind a local HTTP API.

commands:
{commands}

`prism COMMAND --help` describes a command and its options.
"""

EXAMPLES = """\
examples:
  prism samples --serve config/mini.yaml   try everything on the bundled miniature models, with a server of its own
  prism serve --mini                       start a server with the miniature models
  prism weights fetch && prism serve       download the real models (4 GB) and start a server with them
  prism samples holiday.jpg talk.mp3       send your own files to the running server
"""


@dataclass(frozen=True)
class Command:
    """A subcommand: what `prism --help` says about it, and what runs it."""

    summary: str
    run: Callable[[list[str]], int]
    """Takes the arguments after the command's name, returns the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name.ljust(width)}  {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "prism",
        usage="prism [-h] [--version] COMMAND ...",
        description=DESCRIPTION.format(commands=commands),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"prism {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    return COMMANDS[options.command].run(options.arguments)


def _samples(arguments: list[str]) -> int:
    return _run(import_tool("samples.program"), arguments, "prism samples")


def _serve(arguments: list[str]) -> int:
    return _run(importlib.import_module("prism.serve"), arguments, "prism serve")


def _check(arguments: list[str]) -> int:
    return _run(importlib.import_module("serve_app.check"), arguments, "prism check")


def _weights(arguments: list[str]) -> int:
    return _run(importlib.import_module("prism.weights"), arguments, "prism weights")


def _conformance(arguments: list[str]) -> int:
    return _run(importlib.import_module("deployments.captioner.conformance"), arguments, "prism conformance")


def _benchmark(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "prism benchmark",
        usage="prism benchmark [-h] {captioner,transcriber} ...",
        description="Measures the speed and memory of a model on this machine. Needs no checkpoint: by default the "
        "weights are random, in the real model's sizes. `prism benchmark captioner --help` lists the options.",
    )
    parser.add_argument("model", choices=("captioner", "transcriber"))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="options of that benchmark")
    options = parser.parse_args(arguments)
    module = import_tool(f"benchmarks.{options.model}")
    return _run(module, options.arguments, f"prism benchmark {options.model}")


COMMANDS: Mapping[str, Command] = {
    "samples": Command("send files to a server and show the answers", _samples),
    "serve": Command("check the configuration and start the server", _serve),
    "check": Command("check a Serve YAML for misspelt keys and invalid values", _check),
    "weights": Command("fetch, verify or shrink the models' weights", _weights),
    "conformance": Command("compare the captioner with test vectors of the reference implementation", _conformance),
    "benchmark": Command("measure the speed and memory of a model on this machine", _benchmark),
}


def import_tool(name: str) -> ModuleType:
    """Import a module of `samples` or `benchmarks`.

    In a checkout these are top-level packages. An installed copy has them inside `prism`, because such common names
    must not be put into site-packages.
    """
    return importlib.import_module(f"prism.{name}" if is_installed() else name)


def _run(module: ModuleType, arguments: list[str], prog: str) -> int:
    status: int = module.main(arguments, prog)
    return status


if __name__ == "__main__":
    sys.exit(main())
