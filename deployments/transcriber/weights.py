"""The transcriber's checkpoint: its file, where it comes from and how much memory it takes."""

from dataclasses import dataclass
from pathlib import Path

from deployments.model_loader import ReportProgress
from deployments.settings import WeightsConfig
from deployments.transcriber.settings import TranscriberConfig
from deployments.weights.checkpoint import ModelCheckpoint, require_files
from deployments.weights.download import RemoteFile, content_length
from deployments.weights.official import OfficialCheckpoint

FP32_BYTES = {"tiny": 150_000_000, "base": 290_000_000, "small": 970_000_000, "medium": 3_060_000_000}
"""Memory for Whisper's weights in fp32: twice the size of the files, which are fp16."""


@dataclass(frozen=True)
class WhisperFile:
    """An openai-whisper checkpoint."""

    name: str
    path: Path
    revision: str | None
    """The first 12 digits of the file's SHA-256; None for a checkpoint that is not official."""


def ensure_whisper(settings: TranscriberConfig, cache_dir: Path, report: ReportProgress) -> WhisperFile:
    """Return the file of the chosen checkpoint; an official one is fetched into `cache_dir` if it is missing.

    A complete cache makes no request. Raises ModelNotLoaded with the reason and the commands that help.
    """
    official = official_checkpoint(settings, cache_dir)
    if official is None:
        _require_file(settings)
        return WhisperFile(settings.name, settings.checkpoint_path, None)
    (file,) = official.ensure(report).files
    return WhisperFile(official.name, official.folder / file.name, file.sha256[:12])


def official_checkpoint(settings: TranscriberConfig, cache_dir: Path) -> OfficialCheckpoint | None:
    """Return the checkpoint that can be fetched, or None if the settings name a `.pt` file."""
    if not settings.is_official:
        return None
    return OfficialCheckpoint(settings.name, cache_dir / settings.name, lambda: _list_files(settings.model))


def describe(settings: TranscriberConfig, weights: WeightsConfig) -> ModelCheckpoint:
    """Return what the commands of `prism weights` need to know."""
    return ModelCheckpoint(
        capability="transcriber",
        settings=settings,
        precision=settings.precision,
        official=official_checkpoint(settings, weights.cache_dir),
        require_files=lambda: _require_file(settings),
        memory_bytes=_memory_bytes(settings),
        memory_setting="transcriber.model (WHISPER_MODEL_SIZE)",
    )


def _list_files(size: str) -> list[RemoteFile]:
    """Return the one file of a Whisper size, with openai-whisper's own URL and SHA-256.

    Asks the server for its length; raises DownloadFailed if that fails.
    """
    # Imported here: it imports torch, which takes seconds.
    import whisper

    url: str = whisper._MODELS[size]
    sha256 = url.split("/")[-2]
    return [RemoteFile(f"{size}.pt", url, f"openai-whisper@{sha256}", content_length(url), f"sha256:{sha256}")]


def _require_file(settings: TranscriberConfig) -> None:
    require_files("transcriber", settings, [settings.checkpoint_path])


def _memory_bytes(settings: TranscriberConfig) -> int:
    if settings.is_official:
        return FP32_BYTES[settings.model]
    path = settings.checkpoint_path
    return 2 * path.stat().st_size if path.is_file() else 0
