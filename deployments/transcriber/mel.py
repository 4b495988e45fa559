"""Whisper's log-mel spectrogram, made piece by piece: a two-hour recording takes no more memory than a short one."""

from collections.abc import Callable

import torch
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, N_FRAMES, mel_filters

from deployments.transcriber.audio import Waveform


class LogMel:
    """The frames of `whisper.log_mel_spectrogram(waveform, num_mels, padding=N_SAMPLES)`, each made when asked for.

    There are `num_frames` frames, one for every HOP_LENGTH samples, and after them N_FRAMES of silence. Values are held
    to at most 8 below the loudest of the whole waveform (in log10 of power), so it is read through once beforehand;
    `check` is called before each piece.
    """

    def __init__(self, waveform: Waveform, num_mels: int, check: Callable[[], None]) -> None:
        self.num_frames = len(waveform) // HOP_LENGTH
        self._waveform = torch.from_numpy(waveform)
        self._filters = mel_filters("cpu", num_mels)
        self._hann = torch.hann_window(N_FFT)
        self._loudest = -torch.inf
        for start in range(0, self.num_frames + N_FRAMES, N_FRAMES):
            check()
            self._loudest = max(self._loudest, self._log_power(start).max().item())

    def window(self, start: int) -> Tensor:
        """Return N_FRAMES frames from frame `start` on, shape (num_mels, N_FRAMES)."""
        return (self._log_power(start).clamp(min=self._loudest - 8) + 4) / 4

    def _log_power(self, start: int) -> Tensor:
        samples = self._samples(start * HOP_LENGTH - N_FFT // 2, (N_FRAMES - 1) * HOP_LENGTH + N_FFT)
        stft = torch.stft(samples, N_FFT, HOP_LENGTH, window=self._hann, center=False, return_complex=True)
        power: Tensor = self._filters @ stft.abs() ** 2
        return power.clamp(min=1e-10).log10()

    def _samples(self, start: int, count: int) -> Tensor:
        """Return the samples from `start` on: mirrored before the first, silent after the last."""
        samples = torch.zeros(count)
        known = self._waveform[max(start, 0) : max(start + count, 0)]
        before = max(-start, 0)
        samples[before : before + len(known)] = known
        mirrored = self._waveform[1 : before + 1].flip(0)
        samples[before - len(mirrored) : before] = mirrored
        return samples
