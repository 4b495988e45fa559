"""What the library's commands share: the exit status of failures, lines of output, and places in words."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from deployments.library.types import CheckReport
from prism.library.client import Failure, LibraryClient, add_url_option

INTERRUPTED = 130
"""The exit status of a shell command that SIGINT ended: 128 + 2."""


def run_command(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    work: Callable[[LibraryClient, argparse.Namespace], int],
) -> int:
    """Parse `arguments`, run `work` and return its exit status; 1 after a Failure, which is shown, 130 after Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal's encoding may lack a character
    add_url_option(parser)
    options = parser.parse_args(arguments)
    try:
        return work(LibraryClient(options.url), options)
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except BrokenPipeError:
        # The reader of the output, such as `head`, has ended. Python would fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return INTERRUPTED


def say(text: str = "") -> None:
    """Write a line, without control characters: in a file's name they could be commands to the terminal."""
    line = "".join(char if char.isprintable() or char == "\t" else " " for char in text)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show_report(report: CheckReport) -> int:
    """Show what `verify` or `rebuild` has repaired and found; returns the exit status, 1 if there is a problem."""
    for sentence in [*report.repaired, *report.problems]:
        say(sentence)
    if not report.problems:
        say("The library is in order.")
    return 1 if report.problems else 0


def describe_place(source_info: dict[str, object]) -> str:
    """Return where a passage is, in words: `page 5`, `0:12:14 to 0:12:21`; empty if nothing more is known."""
    if "page" in source_info:
        return f"page {source_info['page']}"
    if "start" in source_info:
        start, end = float(str(source_info["start"])), float(str(source_info.get("end", source_info["start"])))
        return f"{_clock(start)} to {_clock(end)}"
    heading = source_info.get("heading")
    if "paragraph" in source_info:
        where = f"paragraph {source_info['paragraph']}"
        return f"{' > '.join(map(str, heading))}, {where}" if isinstance(heading, list | tuple) and heading else where
    return ""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"
