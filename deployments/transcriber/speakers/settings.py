"""Settings of the model that tells speakers apart."""

from pathlib import Path
from typing import ClassVar

from deployments.settings import ModelSection


class SpeakersConfig(ModelSection):
    official_models: ClassVar[tuple[str, ...]] = ("campplus",)

    model: str = "campplus"
    """`campplus`, or another CAM++ of 3D-Speaker, a file with its weights (relative to the project's folder)."""

    @property
    def name(self) -> str:
        return self.model if self.is_official else Path(self.model).stem
