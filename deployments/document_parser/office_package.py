"""Opens the ZIP file that a DOCX is, and reads its parts with a bound on what they unpack to.

Relationships to anything outside the file are ignored (ECMA-376 part 2).
"""

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from lxml import etree

from deployments.errors import InvalidFile
from deployments.log import logger
from deployments.media import READ_BUFFER_BYTES

MAX_UNPACKED_BYTES = 512 * 2**20
"""All parts that are read, together. A book of a thousand pages has 20 MB."""

_XML = (".xml", ".rels")
"""Ends of the names of parts with text; the others are pictures and the like, which are not read."""

_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Office programs wrap an encrypted document in this format: [MS-OFFCRYPTO], section 2.3.2."""

PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "remove_comments": True,
}
"""For lxml: nothing is expanded and nothing fetched."""


class OfficePackage:
    def __init__(self, file: io.RawIOBase) -> None:
        """Raises InvalidFile for a file that is no package, is damaged, or needs a password."""
        buffered = io.BufferedReader(file, READ_BUFFER_BYTES)
        if buffered.peek(8)[:8] == _COMPOUND_FILE:
            raise InvalidFile("The document is encrypted and needs a password. Save a copy without one and send that.")
        try:
            with damage_is_invalid():
                self._zip = zipfile.ZipFile(buffered)
        except ValueError as error:  # It looks for its directory before the start of the file.
            raise InvalidFile("The document is damaged: it ends too early. Save it again and send that.") from error
        # A part that is longer than it says is cut off when it is read, and refused by its checksum.
        if sum(part.file_size for part in self._zip.infolist() if part.filename.endswith(_XML)) > MAX_UNPACKED_BYTES:
            raise _unpacks_to_too_much()
        self._names = {name.lstrip("/").lower(): name for name in self._zip.namelist()}
        self._budget = MAX_UNPACKED_BYTES
        self._found_relationships: dict[str, dict[tuple[str, str], list[str]]] = {}
        self._damaged: set[str] = set()
        self.main_part = next(iter(self.related("", "officeDocument")), "word/document.xml")
        if not self.has(self.main_part):
            raise InvalidFile("The document has no text part: it is damaged, or not a Word document.")

    def has(self, part: str) -> bool:
        return part.lower() in self._names

    def related(self, part: str, kind: str) -> list[str]:
        """Return the parts in the file that `part` refers to by relationships whose type ends with `kind`."""
        found = self._relationships(part).items()
        return [target for (found_kind, _), targets in found if found_kind == kind for target in targets]

    def target(self, part: str, kind: str, relationship: str) -> str | None:
        """Return the part in the file that `part` refers to by the relationship of this kind and id; None if there is
        none.
        """
        return next(iter(self._relationships(part).get((kind, relationship), [])), None)

    def _relationships(self, part: str) -> dict[tuple[str, str], list[str]]:
        """Return the targets of all relationships to parts that are in the file, by their kinds and ids."""
        if part not in self._found_relationships:
            self._found_relationships[part] = self._read_relationships(part)
        return self._found_relationships[part]

    def _read_relationships(self, part: str) -> dict[tuple[str, str], list[str]]:
        folder, name = posixpath.split(part)
        relationships = posixpath.join(folder, "_rels", f"{name}.rels")
        found: dict[tuple[str, str], list[str]] = {}
        for item in self.parse(relationships) if self.has(relationships) else ():
            if item.get("TargetMode", "Internal") != "Internal":
                continue
            target = posixpath.normpath(posixpath.join("/", folder, item.get("Target", ""))).lstrip("/")
            if self.has(target):
                key = (item.get("Type", "").rpartition("/")[2], item.get("Id", ""))
                found.setdefault(key, []).append(target)
        return found

    def parse(self, part: str) -> etree._Element:
        """Return the root of a small part."""
        with damage_is_invalid(), self.open(part) as stream:
            return etree.parse(stream, etree.XMLParser(**PARSER_OPTIONS)).getroot()

    def parse_if_readable(self, part: str) -> etree._Element | None:
        """Return the root of a small part that the document can do without; None if it is damaged.

        Raises InvalidFile if too much was unpacked.
        """
        if part in self._damaged:
            return None
        try:
            return self.parse(part)
        except InvalidFile:
            if self._budget < 0:
                raise
            logger.warning("A part of a Word document is damaged and left out")
            self._damaged.add(part)
            return None

    @contextmanager
    def open(self, part: str) -> Iterator[IO[bytes]]:
        with damage_is_invalid(), self._zip.open(self._names[part.lower()]) as stream:
            yield io.BufferedReader(_Counted(stream, self), READ_BUFFER_BYTES)

    def spend(self, num_bytes: int) -> None:
        """Count bytes that were unpacked; raises InvalidFile when they are too many."""
        self._budget -= num_bytes
        if self._budget < 0:
            raise _unpacks_to_too_much()


class _Counted(io.RawIOBase):
    """Counts what is read from a part."""

    def __init__(self, stream: IO[bytes], package: OfficePackage) -> None:
        self._stream = stream
        self._package = package

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        self._package.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


def _unpacks_to_too_much() -> InvalidFile:
    return InvalidFile(
        f"The document unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MB of text: it is damaged, or made to "
        "exhaust the machine."
    )


@contextmanager
def damage_is_invalid() -> Iterator[None]:
    """Turn what zipfile and lxml raise for damaged files into InvalidFile."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, etree.XMLSyntaxError) as error:
        raise InvalidFile(f"The document is damaged ({error}). Save it again and send that.") from error
    except RuntimeError as error:
        if "encrypted" not in str(error):
            raise
        raise InvalidFile("The document is encrypted and needs a password.") from error
