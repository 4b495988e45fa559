"""The sound that the model hears: its sample rate, its type, and what counts as silence."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz; what Whisper was trained on."""

Waveform = NDArray[np.float32]
"""Mono audio at SAMPLE_RATE, shape (num_samples,), float32 in [-1, 1]."""

SILENCE_PEAK = 10 ** (-70 / 20)
"""-70 dBFS, or 10 steps of 16-bit audio: above dither and codec noise, below the noise of a quiet room."""


def is_silent(waveform: Waveform) -> bool:
    """Return whether no sample is louder than SILENCE_PEAK, apart from a constant (DC) offset."""
    return not waveform.size or bool(np.ptp(waveform) < 2 * SILENCE_PEAK)
