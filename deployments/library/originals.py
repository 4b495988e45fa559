"""The uploaded files, each under the SHA-256 of its content."""

import os
import re
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from deployments.media import Media, as_media

_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_BLOCK = 4 * 2**20


def checksum_of(media: Media) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    return sha256(media.data).hexdigest()


class Originals:
    """A folder of files. What `keep` has returned from is on the disk; a file is there with all its content or not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, checksum: str) -> Path:
        return self._folder / checksum[:2] / checksum

    def write(self, media: Media) -> Path:
        """Write a file's content to the disk, under a name of its own until `keep` or `discard`."""
        path = self._incoming / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                file.write(media.data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.discard(path)
            raise
        return path

    def keep(self, written: Path, checksum: str) -> None:
        """Give a written file its lasting name."""
        path = self.path(checksum)
        if not path.parent.exists():
            path.parent.mkdir()
            _sync_folder(self._folder)
        os.replace(written, path)
        _sync_folder(path.parent)

    def discard(self, written: Path) -> None:
        written.unlink(missing_ok=True)

    def remove(self, checksum: str) -> None:
        path = self.path(checksum)
        path.unlink(missing_ok=True)
        if path.parent.exists():
            _sync_folder(path.parent)

    def read(self, checksum: str) -> Media:
        """Return the whole content; raises FileNotFoundError."""
        return as_media(self.path(checksum).read_bytes())

    def read_part(self, checksum: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end` (exclusive), fewer at the file's end; raises FileNotFoundError."""
        with self.path(checksum).open("rb") as file:
            file.seek(start)
            return file.read(max(0, end - start))

    def checksum(self, checksum: str) -> str:
        """Return the SHA-256 of the content that is on the disk now; raises FileNotFoundError."""
        digest = sha256()
        with self.path(checksum).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def stored(self) -> Iterator[str]:
        """Yield the checksum of each file that is there."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            if _CHECKSUM.fullmatch(path.name) and path == self.path(path.name):
                yield path.name

    def unfinished(self) -> list[Path]:
        """Return the files that were written and neither kept nor discarded: of uploads that broke off."""
        return list(self._incoming.iterdir())


def _sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk: a renamed or removed file is so only then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
