"""The manifest of an official checkpoint: `manifest.json` in its folder, which lists the files and their checksums."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FILE_NAME = "manifest.json"


class ManifestFile(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    origin: str
    """Where it comes from, for people to read."""
    size: int
    """Bytes."""
    sha256: str


class Manifest(BaseModel):
    """The files of a complete checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[ManifestFile, ...]


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder, or None if there is none or it is damaged."""
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a folder, in one step."""
    part = folder / f"{FILE_NAME}.part"
    part.write_text(manifest.model_dump_json(indent=2) + "\n")
    os.replace(part, folder / FILE_NAME)
