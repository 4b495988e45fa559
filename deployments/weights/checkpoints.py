"""Where each model's files are: in the cache, where known checkpoints are fetched to, or in a folder of one's own.

A known checkpoint has a folder in the cache, `moondream2-2025-06-21` or `whisper-base`. Its `manifest.json` is written
last, so it stands for a complete download; it also says what every file must hash to. Copying such a folder to another
machine is as good as fetching it there.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from deployments.commands import FETCH_COMMAND, RESTORE_MINIATURES_COMMAND, SERVE_MINIATURES_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.model_loader import ReportProgress
from deployments.project import project_folder
from deployments.transcriber.settings import WHISPER_SIZES
from deployments.weights import sources
from deployments.weights.download import (
    DownloadFailed,
    Progress,
    RemoteFile,
    checksum,
    fetch_files,
    format_bytes,
    free_bytes,
)

INT8_FILE = "int8.safetensors"
"""Beside a checkpoint's weights: the same, rounded."""


@dataclass(frozen=True)
class MoondreamFiles:
    """The files of a checkpoint in Moondream's hub format; a miniature has no revision."""

    name: str
    revision: str | None
    config: Path | None
    weights: tuple[Path, ...]
    """The safetensors, sorted by name."""
    tokenizer: Path
    is_miniature: bool
    is_rounded: bool = False
    """The weights are the one file that `shrink` has left, in int8."""


@dataclass(frozen=True)
class WhisperFile:
    """An openai-whisper checkpoint; its revision is the start of its SHA-256, a miniature has none."""

    name: str
    path: Path
    revision: str | None
    is_miniature: bool


class ManifestFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    origin: str
    size: int
    sha256: str


class Manifest(BaseModel):
    """What a complete checkpoint consists of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[ManifestFile, ...]


@dataclass(frozen=True)
class KnownCheckpoint:
    """A checkpoint that can be fetched: its folder in the cache, and how to list its files."""

    name: str
    folder: Path
    list_files: Callable[[], list[RemoteFile]]

    def manifest(self) -> Manifest | None:
        """Return the manifest if every file is there in its full size, else None; nothing is hashed or fetched."""
        manifest = self._read_manifest()
        if manifest is None:
            return None
        paths = [(self.folder / file.name, file.size) for file in manifest.files]
        return manifest if all(path.is_file() and path.stat().st_size == size for path, size in paths) else None

    def damage(self, report: ReportProgress) -> list[str]:
        """Return what is wrong with the files, a sentence each; every file is hashed, nothing is fetched."""
        manifest = self._read_manifest()
        if manifest is None:
            return [f"{self.name} is not in {self.folder}, or not completely."]
        sentences = []
        for file in manifest.files:
            path = self.folder / file.name
            report(f"checking {file.name}")
            if not path.is_file():
                sentences.append(f"{path} is missing.")
            elif checksum(path) != f"sha256:{file.sha256}":
                sentences.append(f"{path} is damaged: its content is not what its checksum says.")
        return sentences

    def fetch(self, report: ReportProgress, progress: Progress) -> Manifest:
        """Fetch what is missing or damaged and return the manifest; a whole checkpoint makes no request.

        One process at a time: another one waits and then finds everything there. Raises DownloadFailed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock(report):
                manifest = self.manifest()
                if manifest and not self.damage(report):
                    return manifest
                report(f"looking up the files of {self.name}")
                files = self.list_files()
                fetch_files(files, self.folder, report, progress)
                # It may have been rounded from what was damaged.
                (self.folder / INT8_FILE).unlink(missing_ok=True)
                return self._write_manifest(files)
        except OSError as error:
            raise DownloadFailed(f"{self.folder} cannot be used: {error.strerror or error}.") from error

    @property
    def is_rounded(self) -> bool:
        """Whether `keep_only_int8` has left INT8_FILE in place of the weights."""
        manifest = self.manifest()
        return manifest is not None and any(file.name == INT8_FILE for file in manifest.files)

    def keep_only_int8(self, round_weights: Callable[[Path], None], report: ReportProgress) -> int:
        """Have `round_weights` write INT8_FILE, let it stand for the weights and delete those; return the bytes freed.

        What an interrupted call has left is done now. Raises ModelNotLoaded when the files are not whole.
        """
        with self._lock(report):
            damage = self.damage(report)
            manifest = self.manifest()
            if damage or manifest is None:
                raise ModelNotLoaded(f"{' '.join(damage)} Fetch it first with `{FETCH_COMMAND}`.")
            before = self._weight_bytes()
            full = [file for file in manifest.files if file.name.endswith(".safetensors") and file.name != INT8_FILE]
            if full:
                rounded = self.folder / INT8_FILE
                rounded.unlink(missing_ok=True)
                self._require_space(sum(file.size for file in full) // 2)
                round_weights(rounded)
                others = tuple(file for file in manifest.files if file not in full)
                origin = "rounded here from " + ", ".join(f"{file.origin} (sha256 {file.sha256})" for file in full)
                digest = checksum(rounded).split(":")[1]
                kept = ManifestFile(name=INT8_FILE, origin=origin, size=rounded.stat().st_size, sha256=digest)
                self._replace_manifest(Manifest(files=(*others, kept)))
            for path in self.folder.glob("*.safetensors"):
                if path.name != INT8_FILE:
                    path.unlink()
            return before - self._weight_bytes()

    def _weight_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    def _require_space(self, needed: int) -> None:
        free = free_bytes(self.folder)
        if free < needed:
            raise ModelNotLoaded(
                f"{self.folder} needs {format_bytes(needed)} more while the weights are rounded, but only "
                f"{format_bytes(free)} are free. Make room and try again."
            )

    def _read_manifest(self) -> Manifest | None:
        path = self.folder / "manifest.json"
        if not path.is_file():
            return None
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError:  # damaged itself: as good as none, fetching writes it anew
            return None

    def _write_manifest(self, files: list[RemoteFile]) -> Manifest:
        paths = [self.folder / file.name for file in files]
        manifest = Manifest(
            files=tuple(
                ManifestFile(name=file.name, origin=file.origin, size=file.size, sha256=checksum(path).split(":")[1])
                for file, path in zip(files, paths, strict=True)
            )
        )
        self._replace_manifest(manifest)
        return manifest

    def _replace_manifest(self, manifest: Manifest) -> None:
        part = self.folder / "manifest.json.part"
        part.write_text(manifest.model_dump_json(indent=2) + "\n")
        os.replace(part, self.folder / "manifest.json")

    @contextmanager
    def _lock(self, report: ReportProgress) -> Iterator[None]:
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            report(f"waiting for another process that is at the files of {self.name}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def known_moondream(model: str, cache_dir: Path) -> KnownCheckpoint | None:
    """Return the checkpoint that `captioner.model` names, None where it is a folder."""
    if model != "moondream2":
        return None
    return KnownCheckpoint(model, cache_dir / f"{model}-{sources.MOONDREAM_REVISION}", sources.moondream_files)


def known_whisper(model: str, cache_dir: Path) -> KnownCheckpoint | None:
    """Return the checkpoint that `transcriber.model` names, None where it is a `.pt` file."""
    if model not in WHISPER_SIZES:
        return None
    name = f"whisper-{model}"
    return KnownCheckpoint(name, cache_dir / name, lambda: sources.whisper_files(model))


def ensure_moondream(model: str, cache_dir: Path, report: ReportProgress) -> MoondreamFiles:
    """Return the files of `captioner.model`, fetched into `cache_dir` where they are missing.

    A complete cache makes no request. A folder (relative to the project's) is a miniature and is never fetched; its
    weights are `model*.safetensors`. Raises ModelNotLoaded with the reason and the commands that mend it.
    """
    known = known_moondream(model, cache_dir)
    if known is None:
        return _miniature_moondream(project_folder() / Path(model).expanduser())
    manifest = _ensure(known, report)
    weights = sorted(known.folder / file.name for file in manifest.files if file.name.endswith(".safetensors"))
    return MoondreamFiles(
        name=known.name,
        revision=sources.MOONDREAM_REVISION,
        config=known.folder / "config.json",
        weights=tuple(weights),
        tokenizer=known.folder / "tokenizer.json",
        is_miniature=False,
        is_rounded=[path.name for path in weights] == [INT8_FILE],
    )


def ensure_whisper(model: str, cache_dir: Path, report: ReportProgress) -> WhisperFile:
    """Return the file of `transcriber.model`; what ensure_moondream says holds here too."""
    known = known_whisper(model, cache_dir)
    if known is None:
        path = project_folder() / Path(model).expanduser()
        _require(path)
        return WhisperFile(path.stem, path, None, is_miniature=True)
    (file,) = _ensure(known, report).files
    return WhisperFile(known.name, known.folder / file.name, file.sha256[:12], is_miniature=False)


def _ensure(known: KnownCheckpoint, report: ReportProgress) -> Manifest:
    manifest = known.manifest()
    if manifest:
        return manifest

    def progress(name: str, done: int, size: int) -> None:
        report(f"fetching {name}, {format_bytes(done)} of {format_bytes(size)}")

    try:
        return known.fetch(report, progress)
    except DownloadFailed as error:
        raise ModelNotLoaded(
            f"The files of {known.name} could not be fetched. {error} Fetch them with `{FETCH_COMMAND}`, which goes on "
            f"where it stopped, or serve the miniature checkpoints with `{SERVE_MINIATURES_COMMAND}`."
        ) from error


def _miniature_moondream(folder: Path) -> MoondreamFiles:
    weights = sorted(folder.glob("model*.safetensors"))
    for path in (folder, folder / "tokenizer.json", *(weights or [folder / "model.safetensors"])):
        _require(path)
    config = folder / "config.json"
    return MoondreamFiles(
        name=folder.name,
        revision=None,
        config=config if config.is_file() else None,
        weights=tuple(weights),
        tokenizer=folder / "tokenizer.json",
        is_miniature=True,
    )


def _require(path: Path) -> None:
    if not path.exists():
        raise ModelNotLoaded(
            f"{path} does not exist. Mend the name under `args:`, or bring the project's own miniatures back with "
            f"`{RESTORE_MINIATURES_COMMAND}`."
        )
