"""Muon for the matrices inside the layers, AdamW for all else."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_ADAMW_BETAS = (0.9, 0.98)
_MAX_GRADIENT = 1.0


class Optimizer:
    """Muon for the linear layers of given modules, AdamW for all other parameters, with gradients clipped.

    Muon (Keller Jordan, 2024, https://kellerjordan.github.io/posts/muon/) steps equally far in all directions of a
    matrix; its steps are scaled to the root mean square of AdamW's (Liu et al., 2025, https://arxiv.org/abs/2502.16982).
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        layers: Sequence[nn.Module],
        *,
        muon_factor: float,
        weight_decay: float,
    ) -> None:
        """Train groups of parameters, each with its highest learning rate; `layers` hold the matrices for Muon.

        `muon_factor` times the rate is Muon's, because what is best for one is too little for the other.
        """
        matrices = {module.weight for layer in layers for module in layer.modules() if isinstance(module, nn.Linear)}
        self._parameters = [parameter for group, _ in groups for parameter in group]
        self._optimizers = (
            torch.optim.AdamW(
                [{"params": [p for p in group if p not in matrices], "lr": rate} for group, rate in groups],
                weight_decay=weight_decay,
                betas=_ADAMW_BETAS,
            ),
            torch.optim.Muon(
                [{"params": [p for p in group if p in matrices], "lr": rate * muon_factor} for group, rate in groups],
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
        )
        self._rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]

    def step(self, loss: Tensor, share: float) -> None:
        """Step against the gradient of `loss`, at this share of the highest rates."""
        for optimizer, rates in zip(self._optimizers, self._rates, strict=True):
            optimizer.zero_grad()
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, _MAX_GRADIENT)
        for optimizer in self._optimizers:
            optimizer.step()


def warmed_up_cosine(progress: float, warm_up: float, final: float) -> float:
    """Return a share of the highest rate: a linear rise during `warm_up`, half a cosine down to `final`."""
    cosine = final + (1 - final) * (0.5 + 0.5 * math.cos(math.pi * progress))
    return min(1.0, progress / warm_up) * cosine
