"""The command `prism rm`: removes files from the library."""

import argparse
from collections.abc import Sequence

from prism.library.client import ApiError, LibraryClient
from prism.library.command import run_command, say


def main(arguments: Sequence[str] | None = None, prog: str = "prism rm") -> int:
    """Remove files; the exit status is 1 if one could not be removed."""
    parser = argparse.ArgumentParser(
        prog, description="Removes files from the library: their originals, their text and their place in every answer."
    )
    parser.add_argument("file_ids", nargs="+", type=int, metavar="FILE_ID", help="as `prism files` lists them")
    return run_command(parser, arguments, _run)


def _run(client: LibraryClient, options: argparse.Namespace) -> int:
    status = 0
    for file_id in options.file_ids:
        try:
            client.delete(file_id)
            say(f"File {file_id} is removed.")
        except ApiError as error:
            say(f"File {file_id} is not removed: {error.message}")
            status = 1
    return status
