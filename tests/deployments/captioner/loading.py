"""Helpers of tests that load checkpoints."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from deployments.captioner.loading import load_moondream
from deployments.captioner.moondream import Moondream
from deployments.captioner.settings import MoondreamPrecision
from deployments.errors import ModelNotLoaded


def load(folder: Path, precision: MoondreamPrecision = "fp32") -> Moondream:
    weights = sorted(folder.glob("*.safetensors"))
    return load_moondream(folder / "config.json", weights, precision, report=lambda progress: None)


def loading_error(folder: Path) -> str:
    """Return why the checkpoint in `folder` cannot be loaded."""
    with pytest.raises(ModelNotLoaded) as error:
        load(folder)
    return str(error.value)


def assert_equal_weights(actual: Moondream, expected: Moondream) -> None:
    def by_name(model: Moondream) -> dict[str, Tensor]:
        return {name: parameter.data for name, parameter in model.named_parameters()}

    torch.testing.assert_close(by_name(actual), by_name(expected), rtol=0, atol=0)
