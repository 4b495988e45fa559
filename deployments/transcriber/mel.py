"""Whisper's log-mel spectrogram, computed window by window, so that memory does not grow with the recording."""

from collections.abc import Callable

import torch
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, N_FRAMES, mel_filters

from deployments.transcriber.audio import Waveform


class LogMel:
    """The frames of `whisper.log_mel_spectrogram(waveform, num_mels, padding=N_SAMPLES)`, computed on demand.

    There are `num_frames` frames, one for every HOP_LENGTH samples, followed by N_FRAMES of silence. Whisper clamps
    values to at least the maximum of the whole spectrogram minus 8 (log10 of power). So one pass over the waveform
    finds the maximum first; `check` is called before each 30 s of it, and what it raises ends the work.
    """

    def __init__(self, waveform: Waveform, num_mels: int, check: Callable[[], None]) -> None:
        self.num_frames = len(waveform) // HOP_LENGTH
        self._waveform = torch.from_numpy(waveform)
        self._filters = mel_filters("cpu", num_mels)
        self._hann = torch.hann_window(N_FFT)
        self._max = -torch.inf
        for start in range(0, self.num_frames + N_FRAMES, N_FRAMES):
            check()
            self._max = max(self._max, self._log_power(start).max().item())

    def window(self, start: int) -> Tensor:
        """Return N_FRAMES frames from frame `start` on, shape (num_mels, N_FRAMES)."""
        return (self._log_power(start).clamp(min=self._max - 8) + 4) / 4

    def _log_power(self, start: int) -> Tensor:
        """Return log10 of the power of N_FRAMES frames from frame `start` on, shape (num_mels, N_FRAMES)."""
        samples = self._samples(start * HOP_LENGTH - N_FFT // 2, (N_FRAMES - 1) * HOP_LENGTH + N_FFT)
        stft = torch.stft(samples, N_FFT, HOP_LENGTH, window=self._hann, center=False, return_complex=True)
        power: Tensor = self._filters @ stft.abs() ** 2
        return power.clamp(min=1e-10).log10()

    def _samples(self, start: int, count: int) -> Tensor:
        """Return `count` samples from `start` on, with reflect padding before the first and zeros after the last."""
        samples = torch.zeros(count)
        available = self._waveform[max(start, 0) : max(start + count, 0)]
        num_before = max(-start, 0)
        samples[num_before : num_before + len(available)] = available
        reflected = self._waveform[1 : num_before + 1].flip(0)
        samples[num_before - len(reflected) : num_before] = reflected
        return samples
