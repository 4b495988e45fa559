"""The command `prism show`: what the library knows of a file."""

import argparse
from collections.abc import Sequence

from prism.library.client import LibraryClient
from prism.library.command import describe_place, run_command, say


def main(arguments: Sequence[str] | None = None, prog: str = "prism show") -> int:
    """Show one file and its text."""
    parser = argparse.ArgumentParser(prog, description="Shows a file's state and the text that was found in it.")
    parser.add_argument("file_id", type=int, help="its number, as `prism files` lists it")
    return run_command(parser, arguments, _run)


def _run(client: LibraryClient, options: argparse.Namespace) -> int:
    record = client.file(options.file_id, with_content=True)
    for name in ("path", "file_type", "mime_type", "file_size", "upload_time", "checksum", "status", "total_chunks"):
        say(f"{name:13} {record[name]}")
    if record["error"]:
        say(f"{'error':13} {record['error']['code']}: {record['error']['message']}")
    elif record["status"] != "completed":
        say(
            f"{'progress':13} {record['progress']['stage']} {record['progress']['fraction']:.0%} "
            f"{record['progress']['message']}"
        )
    for passage in record["content"]:
        say()
        place = describe_place(passage["source_info"])
        if place:
            say(f"[{place}]")
        for line in passage["text"].splitlines():
            say(line)
    return 0
