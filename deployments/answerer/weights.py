"""The answerer's language model: its file, its source and the memory that it takes."""

from dataclasses import dataclass
from pathlib import Path

from deployments.answerer.settings import MODELS, AnswererConfig
from deployments.model_loader import ReportProgress
from deployments.settings import WeightsConfig
from deployments.weights.checkpoint import ModelCheckpoint, require_files
from deployments.weights.download import RemoteFile
from deployments.weights.hub import pinned_hub_file
from deployments.weights.official import OfficialCheckpoint

MEMORY_BESIDE_WEIGHTS = 300_000_000
"""Bytes of the process that serves the model, besides the file: its KV cache, buffers and Python."""


@dataclass(frozen=True)
class GgufFile:
    name: str
    path: Path
    revision: str | None
    """The first 12 hexadecimal digits of the commit; None for a file of the user's own."""


def ensure_gguf(settings: AnswererConfig, cache_dir: Path, report: ReportProgress) -> GgufFile:
    """Return the file of the chosen model; one of `MODELS` is fetched into `cache_dir` if it is missing.

    A complete cache makes no request. Raises ModelNotLoaded with the reason and the commands that help.
    """
    official = official_checkpoint(settings, cache_dir)
    if official is None:
        _require_files(settings)
        return GgufFile(settings.name, settings.checkpoint_path, None)
    official.ensure(report)
    model = MODELS[settings.model]
    return GgufFile(official.name, official.folder / model.file, model.commit[:12])


def is_on_disk(settings: AnswererConfig, cache_dir: Path) -> bool:
    """Return whether the model needs no download; checksums are not compared. True also for a server or no model."""
    official = official_checkpoint(settings, cache_dir)
    return official is None or official.manifest() is not None


def official_checkpoint(settings: AnswererConfig, cache_dir: Path) -> OfficialCheckpoint | None:
    """Return the checkpoint that can be fetched, or None if the settings name a file, a server or no model."""
    if not settings.is_official:
        return None
    return OfficialCheckpoint(
        settings.name, cache_dir / settings.name, lambda: _list_files(settings.model), has_miniature=False
    )


def describe(settings: AnswererConfig, weights: WeightsConfig) -> ModelCheckpoint:
    """Return what the commands of `prism weights` need to know."""
    return ModelCheckpoint(
        capability="answerer",
        settings=settings,
        precision="Q4_K_M" if settings.is_official else "as in the file",
        official=official_checkpoint(settings, weights.cache_dir),
        require_files=lambda: _require_files(settings),
        memory_bytes=_memory_bytes(settings),
        memory_setting="answerer.model",
        external=_describe_external(settings),
    )


def _list_files(name: str) -> list[RemoteFile]:
    model = MODELS[name]
    return [pinned_hub_file(model.repository, model.commit, model.file, model.size, model.sha256)]


def _require_files(settings: AnswererConfig) -> None:
    if settings.has_model and not settings.server_url:
        require_files("answerer", settings, [settings.checkpoint_path])


def _describe_external(settings: AnswererConfig) -> str | None:
    if settings.server_url:
        return f"the server {settings.server_url}"
    return None if settings.has_model else "no language model: answers quote the passages"


def _memory_bytes(settings: AnswererConfig) -> int:
    if settings.server_url or not settings.has_model:
        return 0
    if settings.is_official:
        return MODELS[settings.model].size + MEMORY_BESIDE_WEIGHTS
    path = settings.checkpoint_path
    return (path.stat().st_size if path.is_file() else 0) + MEMORY_BESIDE_WEIGHTS
