"""The command `prism search`: finds passages and says where they are."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from deployments.library.types import FILE_TYPES
from prism.library.client import LibraryClient
from prism.library.command import describe_place, run_command, say

MAX_TEXT_LINES = 4


def main(arguments: Sequence[str] | None = None, prog: str = "prism search") -> int:
    """Search and show the results; the exit status is 1 if there are none."""
    parser = argparse.ArgumentParser(
        prog,
        description="Searches the library by meaning and by word. Words in double quotes must occur as they are.",
    )
    parser.add_argument("query", help="a question or some words")
    parser.add_argument("--limit", type=int, default=5, help="how many passages (default: %(default)s)")
    parser.add_argument("--type", action="append", choices=FILE_TYPES, default=[], help="only files of this type")
    parser.add_argument("--json", action="store_true", help="show the server's answer as it is")
    return run_command(parser, arguments, _run)


def _run(client: LibraryClient, options: argparse.Namespace) -> int:
    answer = client.search(options.query, options.limit, options.type)
    if options.json:
        say(json.dumps(answer, ensure_ascii=False))
    else:
        for number, result in enumerate(answer["results"], start=1):
            for line in format_result(number, result, shutil.get_terminal_size().columns):
                say(line)
        say(f"{len(answer['results'])} passages in {answer['query_time']:.2f} s.")
    return 0 if answer["results"] else 1


def format_result(number: int, result: dict[str, Any], width: int) -> list[str]:
    """Return a result as lines: the file and the place, then the text."""
    metadata = result["metadata"]
    place = describe_place(metadata["source_info"])
    heading = f"{number}. {metadata['filename']}{f', {place}' if place else ''} (file {metadata['file_id']})"
    text = textwrap.wrap(" ".join(metadata["text"].split()), max(40, min(width, 100)) - 3)
    shown = text[:MAX_TEXT_LINES]
    if len(text) > len(shown):
        shown[-1] += " ..."
    return [heading, *(f"   {line}" for line in shown)]
