"""The optimizer (Muon and AdamW) and the learning-rate schedule that both recipes train with."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_ADAMW_BETAS = (0.9, 0.98)
_MAX_GRADIENT_NORM = 1.0


class Optimizer:
    """Muon for the linear layers of the given modules, AdamW for all other parameters; gradients are clipped.

    Muon (Keller Jordan, 2024, https://kellerjordan.github.io/posts/muon/) orthogonalizes the update of each weight
    matrix. Its updates are scaled to the root mean square of AdamW's (Liu et al., 2025,
    https://arxiv.org/abs/2502.16982).
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        muon_modules: Sequence[nn.Module],
        *,
        muon_factor: float,
        weight_decay: float,
    ) -> None:
        """Optimize groups of parameters, each with its peak learning rate.

        Muon trains the linear layers inside `muon_modules`, at `muon_factor` times the learning rate of their group.
        """
        matrices = {
            module.weight for parent in muon_modules for module in parent.modules() if isinstance(module, nn.Linear)
        }
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
        self._peak_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]

    def step(self, loss: Tensor, rate_factor: float) -> None:
        """Backpropagate `loss` and update the parameters, at `rate_factor` times the peak learning rates."""
        for optimizer, peak_rates in zip(self._optimizers, self._peak_rates, strict=True):
            optimizer.zero_grad()
            for group, peak_rate in zip(optimizer.param_groups, peak_rates, strict=True):
                group["lr"] = peak_rate * rate_factor
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, _MAX_GRADIENT_NORM)
        for optimizer in self._optimizers:
            optimizer.step()


def cosine_with_warmup(progress: float, warmup: float, final: float) -> float:
    """Return the learning rate at `progress` (0 to 1) of training, as a fraction of the peak.

    It rises linearly during the first `warmup` (a fraction of training), then follows half a cosine down to `final`.
    """
    cosine = final + (1 - final) * (0.5 + 0.5 * math.cos(math.pi * progress))
    return min(1.0, progress / warmup) * cosine
