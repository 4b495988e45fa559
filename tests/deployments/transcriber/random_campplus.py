"""A small CAM++ with random weights, in 3D-Speaker's format and with its structure."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deployments.transcriber.speakers.campplus import CamPlusPlus, CamPlusPlusSizes

SIZES = CamPlusPlusSizes(head_channels=32, channels=16, growth=4, bottleneck=8, layers=(12, 24, 16), vector_dim=16)
"""The smallest that 3D-Speaker's own class can be built with; 0.1 million weights."""


def random_weights() -> dict[str, Tensor]:
    """Return a state dict that is the same on every machine."""
    weights = CamPlusPlus(SIZES).state_dict()
    # Its numbers are the same in every version of numpy.
    chance = np.random.RandomState(1)
    for key, weight in sorted(weights.items()):
        if not weight.is_floating_point():
            continue
        values = torch.from_numpy(chance.standard_normal(weight.shape)).float()
        if weight.ndim > 1:
            weights[key] = values * (2 / weight[0].numel()) ** 0.5
        elif key.endswith(("running_var", "weight")):
            weights[key] = 1 + 0.2 * values.abs()
        else:
            weights[key] = 0.2 * values
    return weights


def write_campplus(path: Path) -> Path:
    torch.save(random_weights(), path)
    return path
