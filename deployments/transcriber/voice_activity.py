"""Voice activity detection with Silero's model, whose weights come with the package silero-vad."""

import math
import warnings
from collections.abc import Callable
from importlib.metadata import distribution
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deployments.transcriber.audio import SAMPLE_RATE, Waveform

FRAME_SAMPLES = 512
"""One frame of the detector: 32 ms."""

SpeechProbabilities = NDArray[np.float32]
"""Speech probability of each frame of FRAME_SAMPLES samples, shape (num_frames,). The last frame is zero-padded."""

_CONTEXT_SAMPLES = 64
"""The end of the previous frame, which the model gets in front of each frame."""
_FFT_SAMPLES, _NUM_BINS, _WIDTH = 256, 129, 128
"""Of the model: samples per Fourier transform, its frequency bins, and channels of the LSTM."""
_BATCH_FRAMES = 60 * SAMPLE_RATE // FRAME_SAMPLES
"""One minute of audio, which takes 30 MB."""

_ONSET_THRESHOLD = 0.35
_OFFSET_THRESHOLD = 0.2
"""Hysteresis: speech starts at the onset threshold and lasts until the probability falls below the offset threshold.

The package's defaults are 0.5 and 0.35. Ours are lower because missed speech is lost, while Whisper has its own
no-speech rule for false alarms. Of 72 espeak-ng sentences in white noise 10 dB below them, 3 are missed at 0.5 and none
at 0.35. In 90 noises, hums and tones and 150 pieces of synthetic music, neither threshold gives a false alarm.
"""
_MIN_SPEECH_FRAMES = 4
"""128 ms. The package's minimum of 250 ms misses single words: the detector needs the first half of one to be sure."""
_MIN_PAUSE_FRAMES = 5
"""The package's minimum of 100 ms, measured between the starts of the first and last frame of a pause."""


_SPEECH_AMPLITUDE = 0.5
"""Amplitude of loud frames after `speech_gain`."""
_LOUD_QUANTILE = 0.99
_MAX_PEAK_FACTOR = 10
"""Peaks count as clicks as far as they exceed the loud frames by more than this factor."""
_MAX_GAIN = 1000
"""60 dB. What is softer is dither and the noise of converters."""


class Span(NamedTuple):
    """Part of a recording: samples `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int


class VoiceActivityDetector(nn.Module):
    """Silero's 16 kHz model (silero-vad 6.2.3, silero_vad.jit), run on many frames per call.

    The package runs one frame per call, and the overhead is many times the arithmetic. Only the LSTM carries state from
    frame to frame, so all other layers process a minute of audio at once.
    """

    def __init__(self) -> None:
        """Load the weights from the installed package, without importing it: that sets torch's threads to 1."""
        super().__init__()
        self.stft = nn.Conv1d(1, 2 * _NUM_BINS, _FFT_SAMPLES, stride=_FFT_SAMPLES // 2, bias=False)
        self.encoder = nn.ModuleList(
            nn.Conv1d(num_inputs, num_outputs, 3, stride=stride, padding=1)
            for num_inputs, num_outputs, stride in ((_NUM_BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, _WIDTH, 1))
        )
        self.lstm = nn.LSTM(_WIDTH, _WIDTH)
        self.output = nn.Conv1d(_WIDTH, 1, 1)
        self.load_state_dict(_packaged_weights())
        self.eval()

    @torch.inference_mode()
    def probabilities(
        self, waveform: Waveform, check: Callable[[], None], *, gain: float = 1.0, is_start_repeated: bool = False
    ) -> SpeechProbabilities:
        """Return the speech probability of each frame, as the package's model does for the waveform times `gain`.

        If `is_start_repeated`, the model hears the first minute twice, and only the second time counts. At first it
        knows nothing of what a recording sounds like: of 223 recordings of animals, instruments, music, noise and hum,
        27 then seem to have speech, and 4 if their start is repeated; and speech that is whispered, creaky or in noise
        is found in 2 to 3 % more of the time.

        `check` is called before each minute of audio; what it raises ends the work.
        """
        num_frames = math.ceil(len(waveform) / FRAME_SAMPLES)
        probabilities = np.empty(num_frames, np.float32)
        lstm_state: tuple[Tensor, Tensor] | None = None
        context = torch.zeros(_CONTEXT_SAMPLES)
        batches = list(range(0, num_frames, _BATCH_FRAMES))
        for first in batches[: int(is_start_repeated)] + batches:
            check()
            end = min(first + _BATCH_FRAMES, num_frames)
            samples = gain * torch.from_numpy(waveform[first * FRAME_SAMPLES : end * FRAME_SAMPLES])
            samples = functional.pad(samples, (0, (end - first) * FRAME_SAMPLES - len(samples)))
            frames = torch.cat([context, samples]).unfold(0, _CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)
            probabilities[first:end], lstm_state = self(frames, lstm_state)
            context = samples[-_CONTEXT_SAMPLES:]
        return probabilities

    def forward(
        self, frames: Tensor, lstm_state: tuple[Tensor, Tensor] | None
    ) -> tuple[NDArray[np.float32], tuple[Tensor, Tensor]]:
        """Return the speech probabilities, shape (n,), and the new LSTM state.

        `frames` are consecutive frames with their context in front, shape (n, 576).
        """
        x = functional.pad(frames[:, None], (0, _CONTEXT_SAMPLES), mode="reflect")
        real, imaginary = self.stft(x).chunk(2, dim=1)
        x = (real**2 + imaginary**2).sqrt()
        for layer in self.encoder:
            x = layer(x).relu()
        x, lstm_state = self.lstm(x[:, :, 0], lstm_state)
        probabilities = self.output(x.relu()[:, :, None]).sigmoid()
        return probabilities.flatten().numpy(), lstm_state


def speech_gain(waveform: Waveform) -> float:
    """Return the factor, at least 1, that brings a soft recording to the level of ordinary speech.

    The model's probabilities depend on the level: those of speech at -55 dB hardly reach 0.5. The level is that of the
    recording's loud frames, but not of the loudest ones alone, which may be clicks. A constant offset does not count.
    """
    frames = waveform[: len(waveform) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    if not len(frames):
        return 1.0
    amplitudes = (frames.max(axis=1) - frames.min(axis=1)) / 2
    level = max(float(np.quantile(amplitudes, _LOUD_QUANTILE)), float(amplitudes.max()) / _MAX_PEAK_FACTOR)
    return min(max(1.0, _SPEECH_AMPLITUDE / level), _MAX_GAIN) if level > 0 else 1.0


def find_speech(probabilities: SpeechProbabilities, num_samples: int) -> list[Span]:
    """Return the spans of speech in a recording of `num_samples` samples, in order and without padding.

    The same rule as silero-vad's `get_speech_timestamps` with these thresholds: speech goes on over pauses shorter than
    _MIN_PAUSE_FRAMES, and spans shorter than _MIN_SPEECH_FRAMES are dropped.
    """
    # A frame between the two thresholds keeps the state of the last frame outside them.
    is_decisive = (probabilities >= _ONSET_THRESHOLD) | (probabilities < _OFFSET_THRESHOLD)
    last_decisive = np.maximum.accumulate(np.where(is_decisive, np.arange(len(probabilities)), -1))
    is_speech = (last_decisive >= 0) & (probabilities[last_decisive] >= _ONSET_THRESHOLD)
    changes = np.diff(is_speech.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    is_pause = starts[1:] - ends[:-1] >= _MIN_PAUSE_FRAMES
    starts, ends = starts[np.r_[True, is_pause][: len(starts)]], ends[np.r_[is_pause, True][: len(ends)]]
    is_long_enough = ends - starts >= _MIN_SPEECH_FRAMES
    return [
        Span(int(start) * FRAME_SAMPLES, min(int(end) * FRAME_SAMPLES, num_samples))
        for start, end in zip(starts[is_long_enough], ends[is_long_enough], strict=True)
    ]


def _packaged_weights() -> dict[str, Tensor]:
    # Not silero_vad_16k.safetensors: it holds the same network with other weights.
    path = distribution("silero-vad").locate_file("silero_vad/data/silero_vad.jit")
    with warnings.catch_warnings():
        # TorchScript is deprecated, but the package has these weights in no other format that torch reads.
        warnings.simplefilter("ignore", DeprecationWarning)
        packaged = torch.jit.load(str(path), map_location="cpu")._model  # type: ignore[no-untyped-call]
    weights: dict[str, Tensor] = {"stft.weight": packaged.stft.forward_basis_buffer}
    for name, weight in packaged.named_parameters():
        match name.split("."):
            case ["encoder", index, _, kind]:
                weights[f"encoder.{index}.{kind}"] = weight
            case ["decoder", "rnn", kind]:
                weights[f"lstm.{kind}_l0"] = weight
            case ["decoder", "decoder", _, kind]:
                weights[f"output.{kind}"] = weight
    return weights
