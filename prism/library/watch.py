"""The command `prism watch`: keeps a folder in the library."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from watchfiles import watch

from prism.library.add import FoundFile, add_files, find_files
from prism.library.client import ApiError, Failure, LibraryClient, checksum_of
from prism.library.command import run_command, say

MAX_WAIT_MS = 500
"""`watch` yields after so long without a change, too; the first time, that starts the first synchronization."""


def main(arguments: Sequence[str] | None = None, prog: str = "prism watch") -> int:
    """Add the folder's files, then follow its changes until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog,
        description="Puts a folder into the library and follows its changes until Ctrl-C. A changed file replaces its "
        "former version once the new one is indexed. A file that vanishes stays in the library, unless --delete.",
        epilog="The library knows the folder by its name alone: two folders of the same name share their files.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--delete", action="store_true", help="also remove files that vanish from the folder")
    return run_command(parser, arguments, _run)


def _run(client: LibraryClient, options: argparse.Namespace) -> int:
    folder: Path = options.folder
    if not folder.is_dir():
        raise Failure(f"There is no folder {folder}.")
    synchronizer = Synchronizer(client, folder, delete=options.delete)
    is_synchronized = False
    # `watch` records changes before it yields for the first time, so that none is missed during the first
    # synchronization.
    for changes in watch(folder, raise_interrupt=True, yield_on_timeout=True, rust_timeout=MAX_WAIT_MS):
        if changes or not is_synchronized:
            synchronizer.synchronize()
        if not is_synchronized:
            say(f"Watching {folder}; Ctrl-C ends this.")
        is_synchronized = True
    return 0


@dataclass(frozen=True)
class _Version:
    """A file of the folder with its present content."""

    file: FoundFile
    checksum: str


class Synchronizer:
    """Makes the library agree with a folder, as often as it is asked."""

    def __init__(self, client: LibraryClient, folder: Path, *, delete: bool) -> None:
        self._client = client
        self._folder = folder.resolve()
        self._delete = delete
        self._given_up: set[tuple[str, str]] = set()
        """Path and checksum of files that were refused or could not be indexed; a changed file is tried again."""

    def synchronize(self) -> None:
        """Add what is new, replace what has changed, and say so. Raises Failure."""
        present = self._present_versions()
        prefix = f"{self._folder.name}/"
        known = [record for record in self._client.files(q=prefix) if record["path"].startswith(prefix)]
        # The same content under two names is one file of the library.
        indexed = {record["checksum"] for record in known if record["status"] != "failed"}
        new = [
            version
            for version in present
            if version.checksum not in indexed
            and (version.file.shown_path, version.checksum) not in self._given_up
            and not self._is_indexed(version.checksum)
        ]
        refused = add_files(self._client, [version.file for version in new]).refused
        for line in refused:
            say(line)
        for version in new:
            self._report(version)
        self._remove_former(present, known)

    def _present_versions(self) -> list[_Version]:
        versions = []
        for file in find_files([str(self._folder)]):
            try:
                versions.append(_Version(file, checksum_of(file.path)))
            except Failure as failure:  # it may have vanished since
                say(str(failure))
        return versions

    def _report(self, version: _Version) -> None:
        """Wait until a file is indexed, and say how that ended."""
        record = self._client.find_checksum(version.checksum)
        if record is not None:
            try:
                record = self._client.wait_until_indexed(record["file_id"])
            except ApiError as error:
                if error.code != "NOT_FOUND":
                    raise
                return  # somebody has removed it
            if record["status"] == "completed":
                say(f"indexed {version.file.shown_path}")
                return
            say(f"{version.file.shown_path}: {record['error']['message']}")
        self._given_up.add((version.file.shown_path, version.checksum))

    def _remove_former(self, present: Sequence[_Version], known: Sequence[dict[str, object]]) -> None:
        """Remove former versions of files whose present one is indexed, and, if asked to, files that have vanished.

        Content that is still in the folder, under whatever name, stays.
        """
        contents = {version.checksum for version in present}
        paths = {version.file.shown_path: version.checksum for version in present}
        for record in known:
            path = str(record["path"])
            if record["checksum"] in contents:
                continue
            is_former = path in paths
            may_be_removed = self._is_indexed(paths[path]) if is_former else self._delete
            if may_be_removed:
                self._client.delete(int(str(record["file_id"])))
                say(f"removed the former {path}" if is_former else f"removed {path}")

    def _is_indexed(self, checksum: str) -> bool:
        record = self._client.find_checksum(checksum)
        return record is not None and record["status"] == "completed"
