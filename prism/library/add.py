"""The command `prism add`: puts files and folders into the library."""

import argparse
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from prism.library.client import ApiError, Failure, LibraryClient, NoConnection, checksum_of
from prism.library.command import run_command, say
from serve_app.file_types import clean_path


@dataclass(frozen=True)
class FoundFile:
    path: Path
    shown_path: str
    """Its path in the library: from the folder that was named on, with that folder's name."""


@dataclass
class Outcome:
    """What became of the files."""

    added: list[int] = field(default_factory=list)
    """Ids of the files that were sent and are to be indexed."""
    num_known: int = 0
    refused: list[str] = field(default_factory=list)
    """One line each."""


def main(arguments: Sequence[str] | None = None, prog: str = "prism add") -> int:
    """Add the files; the exit status is 1 if one was refused, or failed with `--wait`."""
    parser = argparse.ArgumentParser(
        prog,
        description="Puts files into the library, folders with everything below them. Files whose content is there "
        "already are not sent again, so an interrupted command can be repeated.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder or a pattern such as 'scans/*.pdf'")
    parser.add_argument("--wait", action="store_true", help="return only when all files are indexed")
    return run_command(parser, arguments, _run)


def _run(client: LibraryClient, options: argparse.Namespace) -> int:
    files = list(find_files(options.paths))
    outcome = add_files(client, files)
    for line in outcome.refused:
        say(line)
    say(f"{len(outcome.added)} added, {outcome.num_known} already there, {len(outcome.refused)} refused.")
    num_failed = wait_for(client, outcome.added) if options.wait else 0
    return 1 if outcome.refused or num_failed else 0


def find_files(paths: Sequence[str]) -> Iterator[FoundFile]:
    """Yield the files that the paths name; hidden ones only if they are named themselves.

    Raises Failure for a path that names nothing, and for a folder that cannot be read.
    """
    for text in paths:
        names = [text] if Path(text).exists() else sorted(glob.glob(text, recursive=True))
        if not names:
            raise Failure(f"There is no file or folder {text}.")
        for path in map(Path, names):
            if path.is_dir():
                yield from _files_in(path.resolve())
            else:
                yield FoundFile(path, clean_path(path.name))


def _files_in(folder: Path) -> Iterator[FoundFile]:
    for parent, folders, names in os.walk(folder, onerror=_cannot_read):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            if path.is_file():  # neither a pipe nor a link to nowhere
                yield FoundFile(path, clean_path(f"{folder.name}/{path.relative_to(folder).as_posix()}"))


def _cannot_read(error: OSError) -> None:
    raise Failure(f"{error.filename} cannot be read: {error.strerror}.") from error


def add_files(client: LibraryClient, files: Sequence[FoundFile]) -> Outcome:
    """Send the files that the library does not have; raises NoConnection."""
    outcome = Outcome()
    with tqdm(files, unit="file", file=sys.stderr, disable=None) as bar:
        for file in bar:
            bar.set_postfix_str(file.path.name[-40:])
            try:
                _add_file(client, file, outcome)
            except NoConnection:
                raise
            except Failure as failure:
                reason = failure.message if isinstance(failure, ApiError) else str(failure)
                outcome.refused.append(f"{file.path}: {reason}")
    return outcome


def _add_file(client: LibraryClient, file: FoundFile, outcome: Outcome) -> None:
    known = client.find_checksum(checksum_of(file.path))
    if known is not None and known["status"] != "failed":
        outcome.num_known += 1
        return
    answer = client.add(file.path, file.shown_path)
    outcome.added.append(answer["file_id"])


def wait_for(client: LibraryClient, file_ids: Sequence[int]) -> int:
    """Wait until the files are indexed and return how many of them failed; each failure is shown."""
    num_failed = 0
    for file_id in tqdm(file_ids, unit="file", desc="indexing", file=sys.stderr, disable=None):
        record = client.wait_until_indexed(file_id)
        if record["status"] == "failed":
            num_failed += 1
            say(f"{record['path']}: {record['error']['message']}")
    return num_failed
