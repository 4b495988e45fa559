"""The command `prism search`: finds passages, says where they are, and answers from them."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from deployments.counted import counted
from deployments.library.types import FILE_TYPES
from prism.library.client import LibraryClient
from prism.library.command import describe_place, run_command, say

MAX_TEXT_LINES = 4
"""Of a passage."""
MIN_WIDTH, MAX_WIDTH = 40, 100
"""Bounds of a line's length in characters, whatever the terminal's width is."""


def main(arguments: Sequence[str] | None = None, prog: str = "prism search") -> int:
    """Search and show the results; the exit status is 1 if there are none."""
    parser = argparse.ArgumentParser(
        prog,
        description="Searches the library by meaning and by word. Words in double quotes must occur as they are.",
    )
    parser.add_argument("query", help="a question or some words")
    parser.add_argument("--limit", type=int, default=5, help="how many passages (default: %(default)s)")
    parser.add_argument("--type", action="append", choices=FILE_TYPES, default=[], help="only files of this type")
    parser.add_argument("--no-answer", action="store_true", help="only find passages")
    parser.add_argument("--json", action="store_true", help="show the server's answer as it is")
    return run_command(parser, arguments, _run)


def _run(client: LibraryClient, options: argparse.Namespace) -> int:
    if options.json:
        answer = client.search(options.query, options.limit, options.type, answer=not options.no_answer)
        say(json.dumps(answer, ensure_ascii=False))
        return 0 if answer["results"] else 1
    width = max(MIN_WIDTH, min(shutil.get_terminal_size().columns, MAX_WIDTH))
    results: list[dict[str, Any]] = []
    for name, data in client.stream_search(options.query, options.limit, options.type, answer=not options.no_answer):
        if name == "results":
            results = data["results"]
            for number, result in enumerate(results, start=1):
                for line in format_result(number, result, width):
                    say(line)
            say(f"{counted(len(results), 'passage')} in {data['query_time']:.2f} s.")
        elif name == "token":
            for line in textwrap.wrap(data["text"], width):
                say(line)
        elif name == "done" and not options.no_answer:
            for line in format_end(data, results, width):
                say(line)
    return 0 if results else 1


def format_end(answer: dict[str, Any], results: list[dict[str, Any]], width: int) -> list[str]:
    """Return the lines after an answer's sentences: the citations, then the model and the note."""
    names = {result["metadata"]["file_id"]: result["metadata"]["filename"] for result in results}
    lines = []
    for citation in answer["citations"]:
        file_id = citation["file_id"]
        place = describe_place(citation["source_info"])
        where = f"{names.get(file_id, f'file {file_id}')}{f', {place}' if place else ''}"
        text = f'[{citation["citation_number"]}] {where}: "{" ".join(citation["quote"].split())}"'
        lines += textwrap.wrap(text, width, subsequent_indent="    ")
    note = f" {answer['answer_note']}" if answer["answer_note"] else ""
    return [*lines, *textwrap.wrap(f"Answered by {answer['answered_by']}.{note}", width)]


def format_result(number: int, result: dict[str, Any], width: int) -> list[str]:
    """Return a result as lines: the file and the place, then the text."""
    metadata = result["metadata"]
    place = describe_place(metadata["source_info"])
    heading = f"{number}. {metadata['filename']}{f', {place}' if place else ''} (file {metadata['file_id']})"
    text = textwrap.wrap(" ".join(metadata["text"].split()), width - 3)
    shown = text[:MAX_TEXT_LINES]
    if len(text) > len(shown):
        shown[-1] += " ..."
    return [heading, *(f"   {line}" for line in shown)]
