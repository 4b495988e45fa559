"""The command line: `prism COMMAND ...`.

Each command imports what it needs when it runs, so that `prism --help` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from prism.tools import import_tool
from serve_app import __version__

DESCRIPTION = """\
Image, video and audio understanding, and a library that finds everything again, behind a local HTTP API.

commands:
{commands}

`prism COMMAND --help` describes a command and its options.
"""

EXAMPLES = """\
examples:
  prism samples --mini                 try everything on the bundled miniature models, with a server of its own
  prism serve --mini                   start a server with the miniature models
  prism weights fetch && prism serve   download the real models (4 GB) and start a server with them
  prism samples holiday.jpg talk.mp3   send your own files to the running server
  prism add ~/Documents                put a folder into the running server's library
  prism search "budget for travel"     find the page, the second or the frame again
"""


@dataclass(frozen=True)
class Command:
    """A subcommand: what `prism --help` says about it, and the module that runs it."""

    summary: str
    load: Callable[[], ModuleType]
    """Imports the module that has the command's function."""
    function: str = "main"
    """Takes the arguments after the command's name and the program's name for `--help`; returns the exit status."""


COMMANDS: Mapping[str, Command] = {
    "samples": Command("send files to a server and show the answers", lambda: import_tool("samples.program")),
    "serve": Command("check the configuration and start the server", lambda: import_module("prism.serve")),
    "add": Command("put files and folders into the library", lambda: import_module("prism.library.add")),
    "search": Command("find passages in the library", lambda: import_module("prism.library.search")),
    "files": Command("list the library's files", lambda: import_module("prism.library.files")),
    "show": Command("show a file of the library and its text", lambda: import_module("prism.library.show")),
    "rm": Command("remove files from the library", lambda: import_module("prism.library.rm")),
    "watch": Command("keep a folder in the library", lambda: import_module("prism.library.watch")),
    "verify": Command(
        "compare the library's parts with each other", lambda: import_module("prism.library.check"), "verify"
    ),
    "rebuild": Command("make the library's index anew", lambda: import_module("prism.library.check"), "rebuild"),
    "backup": Command("copy the library to a folder", lambda: import_module("prism.library.backup"), "backup"),
    "restore": Command("put a copy of the library in place", lambda: import_module("prism.library.backup"), "restore"),
    "encrypt": Command(
        "make an encrypted copy of the library", lambda: import_module("prism.library.backup"), "encrypt"
    ),
    "check": Command(
        "check a Serve YAML for misspelt keys and invalid values", lambda: import_module("serve_app.check")
    ),
    "openapi": Command("print the API's OpenAPI schema", lambda: import_module("serve_app.print_openapi")),
    "weights": Command("fetch, verify or shrink the models' weights", lambda: import_module("prism.weights")),
    "conformance": Command(
        "compare the captioner with vectors of a reference implementation",
        lambda: import_module("deployments.captioner.conformance"),
    ),
    "benchmark": Command("measure the models or the server on this machine", lambda: import_module("prism.benchmark")),
}


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
    module = COMMANDS[options.command].load()
    run = getattr(module, COMMANDS[options.command].function)
    status: int = run(options.arguments, f"prism {options.command}")
    return status


if __name__ == "__main__":
    sys.exit(main())
