"""What a capability says about its checkpoint, so that commands can treat all models alike.

There are four kinds: official checkpoints, which are fetched and have checksums; models inside an installed package,
which have checksums too; the miniatures that come with the project; and the user's own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deployments.commands import FETCH_COMMAND, RESTORE_MINIATURES_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.model_loader import ReportProgress
from deployments.settings import ModelSection
from deployments.weights.official import OfficialCheckpoint


@dataclass(frozen=True)
class Quantization:
    """A quantized copy that can replace a model's full weights."""

    precision: str
    """The only value of the setting `precision` that this copy can serve, such as `int8`."""
    write_copy: Callable[[Path, ReportProgress], None]
    """Writes the copy to a path, from the full weights; raises ModelNotLoaded when that fails."""


@dataclass(frozen=True)
class ModelCheckpoint:
    """The checkpoint that the settings of one capability choose.

    `deployments/<capability>/weights.py` has a function `describe(settings, weights)` that returns it.
    """

    capability: str
    """The capability's section in the settings, such as `captioner`."""
    settings: ModelSection
    precision: str
    """Of weights and arithmetic, such as `int8`."""
    official: OfficialCheckpoint | None
    """None for a model inside a package, for a miniature and for the user's own checkpoint."""
    require_files: Callable[[], None]
    """For a checkpoint that is not official: raises ModelNotLoaded naming the first file that is missing. For a model
    inside a package, damage counts too."""
    memory_bytes: int
    """What serving needs: the weights in memory, and caches."""
    memory_setting: str
    """The setting that lowers it most, such as `captioner.precision`."""
    quantization: Quantization | None = None
    """None for models whose full weights cannot be replaced by a quantized copy."""
    package: str | None = None
    """The installed package that the model is inside, with its version."""
    external: str | None = None
    """What there is in place of files, such as a server; for a sentence."""

    @property
    def label(self) -> str:
        """What kind of checkpoint it is and where, for a sentence."""
        if self.official is not None:
            return f"{self.official.name}, in {self.official.folder}"
        if self.external is not None:
            return self.external
        if self.package is not None:
            return f"{self.settings.name}, inside the package {self.package}"
        path = self.settings.checkpoint_path
        if self.settings.is_miniature:
            return f"the miniature {path.stem}, which comes with the project, in {path.parent}"
        return f"a checkpoint of your own, {path}"

    def precision_mismatch(self) -> str | None:
        """Return what to do if the chosen precision needs full weights and only the quantized copy is there."""
        if self.official is None or self.quantization is None or not self.official.is_only_quantized:
            return None
        if self.precision == self.quantization.precision:
            return None
        return (
            f"Only the {self.quantization.precision} weights of {self.official.name} are in {self.official.folder}, "
            f"but {self.capability}.precision is {self.precision}. Set it to {self.quantization.precision}, or delete "
            f"that folder and fetch the model again with `{FETCH_COMMAND}`."
        )


def require_files(capability: str, settings: ModelSection, paths: Iterable[Path]) -> None:
    """Check that the files of a miniature or of the user's own checkpoint exist.

    Raises ModelNotLoaded with the first path that is missing and what to do about it.
    """
    for path in paths:
        if not path.exists():
            if settings.is_miniature:
                advice = f"Restore the miniatures with `{RESTORE_MINIATURES_COMMAND}`, or install the project again."
            else:
                names = ", ".join(settings.official_models)
                advice = f"Correct the path in `{capability}.model`, or choose an official model: {names}."
            raise ModelNotLoaded(f"{path} does not exist. {advice}")
