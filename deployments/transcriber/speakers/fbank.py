"""Kaldi's log-mel filter bank features, which CAM++ was trained on.

Those of `compute-fbank-feats --num-mel-bins=80 --dither=0`. Constants and formulas: Kaldi's feat/feature-window.cc and
feat/mel-computations.cc.
"""

from functools import cache

import torch
from torch import Tensor

from deployments.transcriber.audio import SAMPLE_RATE

NUM_BANDS = 80

_FRAME_SAMPLES = 400
"""25 ms."""
_SHIFT_SAMPLES = 160
"""10 ms."""
_FFT_SAMPLES = 512
_PREEMPHASIS = 0.97
_LOWEST_HZ, _HIGHEST_HZ = 20.0, SAMPLE_RATE / 2
_MIN_ENERGY = torch.finfo(torch.float32).eps


def log_mel_bands(samples: Tensor) -> Tensor:
    """Return the features of sounds at SAMPLE_RATE in [-1, 1].

    `samples` has shape (n, num_samples), of at least 25 ms; the result (n, 1 + (num_samples - 400) // 160, NUM_BANDS).
    """
    frames = samples.unfold(1, _FRAME_SAMPLES, _SHIFT_SAMPLES)
    frames = frames - frames.mean(2, keepdim=True)
    previous = torch.cat([frames[:, :, :1], frames[:, :, :-1]], 2)
    frames = (frames - _PREEMPHASIS * previous) * _window()
    power = torch.fft.rfft(frames, _FFT_SAMPLES).abs().square()
    energy: Tensor = power @ _mel_filters()
    return energy.clamp_(min=_MIN_ENERGY).log_()


@cache
def _window() -> Tensor:
    """Return Kaldi's "povey" window, shape (_FRAME_SAMPLES,)."""
    window: Tensor = torch.hann_window(_FRAME_SAMPLES, periodic=False)
    return window.pow(0.85)


@cache
def _mel_filters() -> Tensor:
    """Return the weight of each frequency in each band, shape (_FFT_SAMPLES // 2 + 1, NUM_BANDS).

    The bands are triangles on the mel scale, each from its neighbours' centres; Kaldi leaves out the Nyquist frequency.
    """
    lowest, highest = _mel(torch.tensor([_LOWEST_HZ, _HIGHEST_HZ], dtype=torch.float64))
    width = (highest - lowest) / (NUM_BANDS + 1)
    centres = lowest + width * torch.arange(1, NUM_BANDS + 1)
    frequencies = _mel(torch.arange(_FFT_SAMPLES // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / _FFT_SAMPLES)
    filters: Tensor = (1 - (frequencies[:, None] - centres).abs() / width).clamp(min=0)
    filters[-1] = 0
    return filters.float()


def _mel(hertz: Tensor) -> Tensor:
    mel: Tensor = 1127 * torch.log1p(hertz / 700)
    return mel
