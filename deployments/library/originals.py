"""The uploaded files, each under the SHA-256 of its content.

In an encrypted library their content is encrypted (encrypted_file.py), and each is under the HMAC-SHA256 of its
checksum, so that nobody without the key can tell whether a file that he has is there. Methods take the checksum in
either case.
"""

import hmac
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedReader
from pathlib import Path

import numpy as np

from deployments.library.encrypted_file import EncryptedFile, NotAuthentic, write_encrypted
from deployments.library.encryption import Keys
from deployments.library.sync import sync_folder
from deployments.media import Media, as_media

_NAME = re.compile(r"[0-9a-f]{64}")
_BLOCK = 4 * 2**20


def checksum_of(media: Media) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    return sha256(media.data).hexdigest()


class Originals:
    """A folder of files. What `keep` has returned from is on the disk; a file is there with all its content or not."""

    def __init__(self, folder: Path, keys: Keys | None = None) -> None:
        """With `keys`, the files are encrypted."""
        self._folder = folder
        self._keys = keys
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def name(self, checksum: str) -> str:
        """Return the name under which the file with this checksum is stored."""
        return checksum if self._keys is None else hmac.digest(self._keys.names, checksum.encode(), "sha256").hex()

    def write(self, media: Media, checksum: str) -> Path:
        """Write a file's content to the disk, under a name of its own until `keep` or `discard`."""
        path = self._incoming / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                if self._keys is None:
                    file.write(media.data)
                else:
                    write_encrypted(file, media.data, self._keys.originals, self.name(checksum))
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.discard(path)
            raise
        return path

    def copy_from(self, other: "Originals", name: str) -> bool:
        """Copy a file by the name under which it is stored, as it is on the disk; False if `other` has it no more."""
        path = self._incoming / uuid.uuid4().hex
        try:
            with other._path(name).open("rb") as source, path.open("xb") as file:
                shutil.copyfileobj(source, file, _BLOCK)
                file.flush()
                os.fsync(file.fileno())
            self._keep_as(path, name)
        except FileNotFoundError:
            return False
        finally:
            self.discard(path)
        return True

    def keep(self, written: Path, checksum: str) -> None:
        """Give a written file its lasting name."""
        self._keep_as(written, self.name(checksum))

    def _keep_as(self, written: Path, name: str) -> None:
        path = self._path(name)
        if not path.parent.exists():
            path.parent.mkdir()
            sync_folder(self._folder)
        os.replace(written, path)
        sync_folder(path.parent)

    def discard(self, written: Path) -> None:
        written.unlink(missing_ok=True)

    def remove(self, checksum: str) -> None:
        self.remove_stored(self.name(checksum))

    def remove_stored(self, name: str) -> None:
        """Remove a file by the name under which it is stored."""
        path = self._path(name)
        path.unlink(missing_ok=True)
        if path.parent.exists():
            sync_folder(path.parent)

    def read(self, checksum: str) -> Media:
        """Return the whole content; raises FileNotFoundError, or NotAuthentic if it cannot be decrypted."""
        with self._opened(checksum) as file:
            if self._keys is None:
                return as_media(file.read())
            encrypted = EncryptedFile(file, self._keys.originals, self.name(checksum))
            media = np.empty(encrypted.num_bytes, np.uint8)
            position = 0
            for block in encrypted.blocks():
                media[position : position + len(block)] = as_media(block)
                position += len(block)
            return media

    def read_part(self, checksum: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end` (exclusive), fewer at the file's end; raises as `read` does."""
        with self._opened(checksum) as file:
            if self._keys is None:
                file.seek(start)
                return file.read(max(0, end - start))
            return EncryptedFile(file, self._keys.originals, self.name(checksum)).read(start, end)

    def checksum(self, checksum: str) -> str:
        """Return the SHA-256 of the content that is on the disk now, empty if it cannot be decrypted; raises
        FileNotFoundError."""
        digest = sha256()
        with self._opened(checksum) as file:
            try:
                for block in self._blocks(file, checksum):
                    digest.update(block)
            except NotAuthentic:
                return ""
        return digest.hexdigest()

    def stored(self) -> Iterator[str]:
        """Yield the name of each file that is there."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            if _NAME.fullmatch(path.name) and path == self._path(path.name):
                yield path.name

    def unfinished(self) -> list[Path]:
        """Return the files that were written and neither kept nor discarded: of uploads that broke off."""
        return list(self._incoming.iterdir())

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    @contextmanager
    def _opened(self, checksum: str) -> Iterator[BufferedReader]:
        with self._path(self.name(checksum)).open("rb") as file:
            yield file

    def _blocks(self, file: BufferedReader, checksum: str) -> Iterator[bytes | memoryview]:
        if self._keys is not None:
            yield from EncryptedFile(file, self._keys.originals, self.name(checksum)).blocks()
        else:
            while block := file.read(_BLOCK):
                yield block
