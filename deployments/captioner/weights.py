"""The captioner's checkpoint: its files, where they come from, how much memory it needs and how it is quantized."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import Timeout

from deployments.captioner.settings import CaptionerConfig
from deployments.errors import ModelNotLoaded
from deployments.model_loader import ReportProgress
from deployments.settings import WeightsConfig
from deployments.units import MEGABYTE
from deployments.weights.checkpoint import ModelCheckpoint, Quantization, require_files
from deployments.weights.download import RemoteFile
from deployments.weights.hub import list_hub_files
from deployments.weights.official import OfficialCheckpoint

REPOSITORY = "vikhyatk/moondream2"
REVISION = "2025-06-21"
TOKENIZER_REPOSITORY = "moondream/starmie-v1"
TOKENIZER_REVISION = "35192e10a54e36eabe0a7cc57a2c1aab371cafc5"

QUANTIZED_FILE = "int8.safetensors"
"""Name of the int8 copy of the weights, in the folder of the full ones."""

NUM_WEIGHTS = 1_930_000_000
"""Of moondream2."""
BYTES_PER_WEIGHT = {"int8": 1, "bf16": 2, "fp32": 4}
STORED_BYTES_PER_WEIGHT = 2
"""In the files of a checkpoint, which are usually fp16 or bf16."""


@dataclass(frozen=True)
class MoondreamFiles:
    """The files of a checkpoint in the layout of Moondream's repository on the hub."""

    name: str
    revision: str | None
    """None for a checkpoint that is not official."""
    config: Path | None
    """None where there is no `config.json`: the sizes are moondream2's."""
    weights: tuple[Path, ...]
    """Safetensors, sorted by name."""
    tokenizer: Path
    is_only_quantized: bool = False
    """Whether the weights are the int8 copy, and the full ones have been deleted."""


def ensure_moondream(settings: CaptionerConfig, cache_dir: Path, report: ReportProgress) -> MoondreamFiles:
    """Return the files of the chosen checkpoint; an official one is fetched into `cache_dir` where files are missing.

    A complete cache makes no request. Raises ModelNotLoaded with the reason and the commands that help.
    """
    official = official_checkpoint(settings, cache_dir)
    if official is None:
        return _local_files(settings)
    manifest = official.ensure(report)
    weights = sorted(official.folder / file.name for file in manifest.files if file.name.endswith(".safetensors"))
    return MoondreamFiles(
        name=official.name,
        revision=REVISION,
        config=official.folder / "config.json",
        weights=tuple(weights),
        tokenizer=official.folder / "tokenizer.json",
        is_only_quantized=[path.name for path in weights] == [QUANTIZED_FILE],
    )


def official_checkpoint(settings: CaptionerConfig, cache_dir: Path) -> OfficialCheckpoint | None:
    """Return the checkpoint that can be fetched, or None if the settings name a folder."""
    if not settings.is_official:
        return None
    return OfficialCheckpoint(settings.model, cache_dir / f"{settings.model}-{REVISION}", _list_files, QUANTIZED_FILE)


def describe(settings: CaptionerConfig, weights: WeightsConfig) -> ModelCheckpoint:
    """Return the description of the chosen checkpoint that the commands of `prism weights` need."""
    return ModelCheckpoint(
        capability="captioner",
        settings=settings,
        precision=settings.precision,
        official=official_checkpoint(settings, weights.cache_dir),
        require_files=lambda: _require_files(settings),
        memory_bytes=_memory_bytes(settings),
        memory_setting="captioner.precision",
        quantization=Quantization("int8", partial(_write_quantized_copy, settings, weights)),
    )


def _list_files() -> list[RemoteFile]:
    """Return moondream2's `config.json`, its safetensors and the tokenizer it was trained with; asks the hub.

    Moondream2's own repository holds the tokenizer of an older release, with other ids, and Python code, which is not
    fetched. Raises DownloadFailed.
    """
    return [
        *list_hub_files(REPOSITORY, REVISION, ("config.json", "*.safetensors"), ("*.safetensors.index.json",)),
        *list_hub_files(TOKENIZER_REPOSITORY, TOKENIZER_REVISION, ("tokenizer.json",)),
    ]


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors"))


def _require_files(settings: CaptionerConfig) -> None:
    folder = settings.checkpoint_path
    weights = _weight_files(folder) or [folder / "model.safetensors"]
    require_files("captioner", settings, [folder, folder / "tokenizer.json", *weights])


def _local_files(settings: CaptionerConfig) -> MoondreamFiles:
    """Return the files of a miniature or of the user's own checkpoint; raises ModelNotLoaded if one is missing."""
    _require_files(settings)
    folder = settings.checkpoint_path
    config = folder / "config.json"
    return MoondreamFiles(
        name=folder.name,
        revision=None,
        config=config if config.is_file() else None,
        weights=tuple(_weight_files(folder)),
        tokenizer=folder / "tokenizer.json",
    )


def _memory_bytes(settings: CaptionerConfig) -> int:
    num_weights = NUM_WEIGHTS
    if not settings.is_official:
        num_weights = sum(path.stat().st_size for path in _weight_files(settings.checkpoint_path))
        num_weights //= STORED_BYTES_PER_WEIGHT
    caches = 0 if settings.is_miniature else settings.cache_mb * MEGABYTE
    return num_weights * BYTES_PER_WEIGHT[settings.precision] + caches


def _write_quantized_copy(
    settings: CaptionerConfig, weights: WeightsConfig, path: Path, report: ReportProgress
) -> None:
    """Quantize the full weights into `path`, and load that copy as a check."""
    # Imported here: torch takes seconds.
    from deployments.captioner.loading import load_int8, load_moondream

    files = ensure_moondream(settings, weights.cache_dir, report)
    try:
        load_moondream(files.config, files.weights, "int8", report, save_int8_to=path)
    except Timeout as error:
        raise ModelNotLoaded(
            "A server is quantizing these weights. Wait until it has started, or stop it; then try again."
        ) from error
    load_int8(files.config, path, report)
