"""The voices in a recording: a vector for every second and a half of speech."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.speakers.campplus import CamPlusPlus
from deployments.transcriber.speakers.fbank import log_mel_bands
from deployments.transcriber.voice_activity import Span

Vectors = NDArray[np.float32]
"""Unit vectors, shape (n, vector_dim)."""

WINDOW_SAMPLES = SAMPLE_RATE * 3 // 2
_MAX_SHIFT_SAMPLES = WINDOW_SAMPLES // 2
"""Windows overlap by half, as in 3D-Speaker's recipe for speaker diarization."""
_BATCH_WINDOWS = 8
"""These take 40 MB."""


@dataclass(frozen=True)
class VoiceWindow:
    """Part of a span of speech, of at most WINDOW_SAMPLES."""

    span: Span
    utterance: int
    """The number of the span that it is part of."""

    @property
    def num_samples(self) -> int:
        return self.span.end - self.span.start


def divide_into_windows(speech: Sequence[Span]) -> list[VoiceWindow]:
    """Return windows that cover spans of speech, in order; those of a span overlap by half or a little more."""
    windows = []
    for utterance, span in enumerate(speech):
        rest = max(0, span.end - span.start - WINDOW_SAMPLES)
        num_shifts = math.ceil(rest / _MAX_SHIFT_SAMPLES)
        for number in range(num_shifts + 1):
            start = span.start + (rest * number // num_shifts if num_shifts else 0)
            windows.append(VoiceWindow(Span(start, min(start + WINDOW_SAMPLES, span.end)), utterance))
    return windows


class VoiceEncoder:
    """CAM++ on the CPU; several threads may use it at once."""

    def __init__(self, network: CamPlusPlus) -> None:
        self._network = network

    @torch.inference_mode()
    def vectors(self, recording: Waveform, windows: Sequence[VoiceWindow], check: Callable[[int], None]) -> Vectors:
        """Return the vector of the voice in each window.

        A short window is repeated until it is a long one. `check` is called before each batch with the number of
        windows that are done; what it raises ends the work.
        """
        batches = []
        for first in range(0, len(windows), _BATCH_WINDOWS):
            check(first)
            sounds = [
                np.resize(recording[window.span.start : window.span.end], WINDOW_SAMPLES)
                for window in windows[first : first + _BATCH_WINDOWS]
            ]
            bands = log_mel_bands(torch.from_numpy(np.stack(sounds)))
            batches.append(self._network(bands - bands.mean(1, keepdim=True)))
        vectors: Vectors = torch.nn.functional.normalize(torch.cat(batches)).numpy()
        return vectors
