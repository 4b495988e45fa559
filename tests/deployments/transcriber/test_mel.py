import time

import numpy as np
import pytest
import torch
from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram

from deployments.cancellation import Cancellation
from deployments.errors import DeadlineExceeded
from deployments.transcriber.mel import LogMel
from tests.deployments.transcriber.sounds import noise


def never_cancel() -> None:
    pass


@pytest.mark.parametrize("num_samples", [100, 160, 201, 1000, 16_000 * 65 + 77])
def test_windows_equal_those_of_whispers_spectrogram(num_samples: int) -> None:
    waveform = noise(65.01)[:num_samples]
    expected = log_mel_spectrogram(waveform, 80, padding=N_SAMPLES)
    spectrogram = LogMel(waveform, 80, never_cancel)
    assert spectrogram.num_frames == expected.shape[1] - N_FRAMES
    for start in {0, spectrogram.num_frames // 2, spectrogram.num_frames}:
        torch.testing.assert_close(spectrogram.window(start), expected[:, start : start + N_FRAMES], rtol=0, atol=1e-6)


def test_values_are_clamped_relative_to_the_maximum_of_the_whole_recording() -> None:
    waveform = noise(70)
    waveform[: 30 * 16_000] *= 1e-4
    expected = log_mel_spectrogram(waveform, 80, padding=N_SAMPLES)[:, :N_FRAMES]
    torch.testing.assert_close(LogMel(waveform, 80, never_cancel).window(0), expected, rtol=0, atol=1e-6)


def test_the_pass_for_the_maximum_stops_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        LogMel(np.zeros(16_000, np.float32), 80, Cancellation(time.time() - 1).check)
