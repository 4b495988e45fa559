"""The command `prism files`: lists what is in the library."""

import argparse
from collections.abc import Sequence
from typing import get_args

from deployments.counted import counted
from deployments.library.types import FILE_TYPES, FileStatus
from prism.library.client import LibraryClient
from prism.library.command import run_command, say


def main(arguments: Sequence[str] | None = None, prog: str = "prism files") -> int:
    """List the files, newest first."""
    parser = argparse.ArgumentParser(prog, description="Lists the files of the library, newest first.")
    parser.add_argument("name", nargs="?", default="", help="only files with this in their name or folders")
    parser.add_argument("--type", choices=FILE_TYPES, default="", help="only files of this type")
    parser.add_argument("--status", choices=get_args(FileStatus), default="", help="only files in this state")
    return run_command(parser, arguments, _run)


def _run(client: LibraryClient, options: argparse.Namespace) -> int:
    filters = {"q": options.name, "type": options.type, "status": options.status}
    num_files = 0
    for record in client.files(**{name: value for name, value in filters.items() if value}):
        num_files += 1
        note = f": {record['error']['message']}" if record["error"] else ""
        progress = f" {record['progress']['fraction']:.0%}" if record["status"] == "processing" else ""
        say(f"{record['file_id']:>6}  {record['file_type']:8}  {record['status']}{progress}  {record['path']}{note}")
    say(f"{counted(num_files, 'file')}.")
    return 0
