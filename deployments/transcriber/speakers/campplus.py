"""CAM++, a network that turns speech into a vector of the speaker's voice, in inference.

Wang et al. 2023, "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking"
(arXiv:2303.00332). The names of modules are those in the checkpoints of 3D-Speaker.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from deployments.transcriber.speakers.fbank import NUM_BANDS

_DILATIONS = (1, 2, 2)
"""Of the three dense blocks."""
_CONTEXT_FRAMES = 100
"""Frames (of 20 ms) whose mean is the local context of a frame."""


@dataclass(frozen=True)
class CamPlusPlusSizes:
    """The numbers in which checkpoints differ."""

    head_channels: int
    """Of the two-dimensional convolutions."""
    channels: int
    """Of the first one-dimensional layer."""
    growth: int
    """Channels that each dense layer adds."""
    bottleneck: int
    """Channels within a dense layer."""
    layers: tuple[int, ...]
    """Of each dense block."""
    vector_dim: int

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Self:
        """Return the sizes of a checkpoint; raises KeyError if it is of another kind."""
        layers = tuple(
            sum(f"xvector.block{block}.tdnnd{layer}.linear1.weight" in weights for layer in range(1, 100))
            for block in range(1, len(_DILATIONS) + 1)
        )
        first = "xvector.block1.tdnnd1"
        return cls(
            head_channels=weights["head.conv1.weight"].shape[0],
            channels=weights["xvector.tdnn.linear.weight"].shape[0],
            growth=weights[f"{first}.cam_layer.linear_local.weight"].shape[0],
            bottleneck=weights[f"{first}.linear1.weight"].shape[0],
            layers=layers,
            vector_dim=weights["xvector.dense.linear.weight"].shape[0],
        )


class CamPlusPlus(nn.Module):
    def __init__(self, sizes: CamPlusPlusSizes) -> None:
        super().__init__()
        self.head = _Head(sizes.head_channels)
        self.xvector = _TimeDelayNetwork(sizes)
        self.eval()

    @torch.inference_mode()
    def forward(self, bands: Tensor) -> Tensor:
        """Return the vectors of sounds, shape (n, vector_dim), not normalized.

        `bands` are their log-mel bands less the mean of each band, shape (n, num_frames, NUM_BANDS).
        """
        vectors: Tensor = self.xvector(self.head(bands.transpose(1, 2)[:, None]))
        return vectors


class _Head(nn.Module):
    """Two-dimensional convolutions over bands and frames, which divide the number of bands by 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(_Residual(channels, stride=2), _Residual(channels, stride=1))
        self.layer2 = nn.Sequential(_Residual(channels, stride=2), _Residual(channels, stride=1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        x = functional.relu(self.bn2(self.conv2(x)))
        return x.flatten(1, 2)


class _Residual(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class _TimeDelayNetwork(nn.Sequential):
    def __init__(self, sizes: CamPlusPlusSizes) -> None:
        super().__init__()
        # The frames are halved here: from 10 to 20 ms.
        inputs = sizes.head_channels * NUM_BANDS // 8
        self.add_module("tdnn", _Convolution(inputs, sizes.channels, kernel_size=5, stride=2))
        channels = sizes.channels
        for number, (layers, dilation) in enumerate(zip(sizes.layers, _DILATIONS, strict=True), 1):
            self.add_module(f"block{number}", _DenseBlock(channels, layers, dilation, sizes))
            channels += layers * sizes.growth
            self.add_module(f"transit{number}", _Transition(channels, channels // 2))
            channels //= 2
        self.add_module("out_nonlinear", _Norm(channels))
        self.add_module("stats", _Statistics())
        self.add_module("dense", _Output(2 * channels, sizes.vector_dim))


class _Norm(nn.Sequential):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.add_module("batchnorm", nn.BatchNorm1d(channels))
        self.add_module("relu", nn.ReLU(inplace=True))


class _Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
        self.nonlinear = _Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.nonlinear(self.linear(x))
        return x


class _DenseBlock(nn.Module):
    """Layers of which each gets the outputs of all before it."""

    def __init__(self, inputs: int, layers: int, dilation: int, sizes: CamPlusPlusSizes) -> None:
        super().__init__()
        self._growth = sizes.growth
        for layer in range(layers):
            self.add_module(f"tdnnd{layer + 1}", _DenseLayer(inputs + layer * sizes.growth, dilation, sizes))

    def forward(self, x: Tensor) -> Tensor:
        num_layers = len(self._modules)
        # All outputs have their place in one tensor, so that none is copied for each later layer.
        outputs = x.new_empty(x.shape[0], x.shape[1] + num_layers * self._growth, x.shape[2])
        end = x.shape[1]
        outputs[:, :end] = x
        for layer in self.children():
            outputs[:, end : end + self._growth] = layer(outputs[:, :end])
            end += self._growth
        return outputs


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, dilation: int, sizes: CamPlusPlusSizes) -> None:
        super().__init__()
        self.nonlinear1 = nn.Sequential()
        self.nonlinear1.add_module("batchnorm", nn.BatchNorm1d(inputs))
        self.linear1 = nn.Conv1d(inputs, sizes.bottleneck, 1, bias=False)
        self.nonlinear2 = _Norm(sizes.bottleneck)
        self.cam_layer = _ContextAwareMasking(sizes.bottleneck, sizes.growth, dilation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x).relu_())))
        return x


class _ContextAwareMasking(nn.Module):
    """A convolution whose outputs are weighted by what the whole sound and its parts have on average."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(inputs, inputs // 2, 1)
        self.linear2 = nn.Conv1d(inputs // 2, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        num_frames = x.shape[2]
        means = functional.avg_pool1d(x, _CONTEXT_FRAMES, _CONTEXT_FRAMES, ceil_mode=True)
        # The mask is the same in all frames of a part.
        mask = self.linear2(self.linear1(x.mean(2, keepdim=True) + means).relu()).sigmoid()
        mask = mask.repeat_interleave(_CONTEXT_FRAMES, 2)[:, :, :num_frames]
        masked: Tensor = self.linear_local(x) * mask
        return masked


class _Transition(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nonlinear = _Norm(inputs)
        self.linear = nn.Conv1d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(self.nonlinear(x))
        return x


class _Statistics(nn.Module):
    """The mean and standard deviation of each channel over time."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(2), x.std(2)], 1)


class _Output(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(outputs, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        x = self.nonlinear(self.linear(x[:, :, None])[:, :, 0])
        return x
