"""Where somebody speaks in a recording, heard by Silero's voice activity detector, whose weights are in its package."""

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
"""The detector hears 32 ms at a time."""

Probabilities = NDArray[np.float32]
"""That somebody speaks, shape (num_frames,), one for each FRAME_SAMPLES; the last frame may be filled with silence."""

_CONTEXT_SAMPLES = 64
"""Of the frame before, heard again with each frame."""
_FFT_SAMPLES, _NUM_BINS, _WIDTH = 256, 129, 128
_PIECE_FRAMES = 60 * SAMPLE_RATE // FRAME_SAMPLES
"""A minute at once takes 30 MB."""

_SPEECH_THRESHOLD = 0.35
_SILENCE_THRESHOLD = 0.2
"""Speech begins at the one and lasts until the other: between them stays what was.

The package's defaults are 0.5 and 0.35. Speech that is missed is lost, while Whisper still has a rule of its own for
what is none. Of 72 sentences of espeak-ng in white noise 10 dB below them, 3 are missed at 0.5 and none at 0.35; in 90
noises, hums and tones and 150 pieces of synthetic music no speech is heard at either.
"""
_MIN_SPEECH_FRAMES = 8
"""More than 0.25 s."""
_MIN_PAUSE_FRAMES = 5
"""Its first frame was 0.1 s before its last."""


class Span(NamedTuple):
    """Part of a recording, in samples; `end` is the first after it."""

    start: int
    end: int


class SpeechDetector(nn.Module):
    """Silero's network for 16 kHz (silero-vad 6.2.3, silero_vad.jit), for many frames at once.

    The package calls it for each frame, which takes many times as long as the arithmetic. Between frames there is only
    the recurrent layer's state, so everything before and after that layer is done for a minute of sound together.
    """

    def __init__(self) -> None:
        """Take the weights out of the installed package; importing it would set torch's number of threads to 1."""
        super().__init__()
        self.spectrum = nn.Conv1d(1, 2 * _NUM_BINS, _FFT_SAMPLES, stride=_FFT_SAMPLES // 2, bias=False)
        self.encoder = nn.ModuleList(
            nn.Conv1d(num_inputs, num_outputs, 3, stride=stride, padding=1)
            for num_inputs, num_outputs, stride in ((_NUM_BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, _WIDTH, 1))
        )
        self.memory = nn.LSTM(_WIDTH, _WIDTH)
        self.output = nn.Conv1d(_WIDTH, 1, 1)
        self.load_state_dict(_installed_weights())
        self.eval()

    @torch.inference_mode()
    def probabilities(self, waveform: Waveform, check: Callable[[], None]) -> Probabilities:
        """Return what the package's model gives for frame after frame; `check` is called before each minute."""
        num_frames = math.ceil(len(waveform) / FRAME_SAMPLES)
        found = np.empty(num_frames, np.float32)
        state: tuple[Tensor, Tensor] | None = None
        context = torch.zeros(_CONTEXT_SAMPLES)
        for first in range(0, num_frames, _PIECE_FRAMES):
            check()
            end = min(first + _PIECE_FRAMES, num_frames)
            samples = torch.from_numpy(waveform[first * FRAME_SAMPLES : end * FRAME_SAMPLES])
            samples = functional.pad(samples, (0, (end - first) * FRAME_SAMPLES - len(samples)))
            heard = torch.cat([context, samples]).unfold(0, _CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)
            found[first:end], state = self(heard, state)
            context = samples[-_CONTEXT_SAMPLES:]
        return found

    def forward(
        self, frames: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[NDArray[np.float32], tuple[Tensor, Tensor]]:
        """Return probabilities of frames with their context, shape (n, 576), and the state after the last of them."""
        x = functional.pad(frames[:, None], (0, _CONTEXT_SAMPLES), mode="reflect")
        real, imaginary = self.spectrum(x).chunk(2, dim=1)
        x = (real**2 + imaginary**2).sqrt()
        for layer in self.encoder:
            x = layer(x).relu()
        x, state = self.memory(x[:, :, 0], state)
        probabilities = self.output(x.relu()[:, :, None]).sigmoid()
        return probabilities.flatten().numpy(), state


def find_speech(probabilities: Probabilities, num_samples: int) -> list[Span]:
    """Return when somebody speaks in a recording of that many samples, in order, without any margin.

    The rule is that of `get_speech_timestamps` of silero-vad at these thresholds, without its padding: a shorter pause
    than _MIN_PAUSE_FRAMES does not end a span, and a shorter span than _MIN_SPEECH_FRAMES is none.
    """
    is_certain = (probabilities >= _SPEECH_THRESHOLD) | (probabilities < _SILENCE_THRESHOLD)
    last_certain = np.maximum.accumulate(np.where(is_certain, np.arange(len(probabilities)), -1))
    is_speech = (last_certain >= 0) & (probabilities[last_certain] >= _SPEECH_THRESHOLD)
    changes = np.diff(is_speech.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    is_pause = starts[1:] - ends[:-1] >= _MIN_PAUSE_FRAMES
    starts, ends = starts[np.r_[True, is_pause][: len(starts)]], ends[np.r_[is_pause, True][: len(ends)]]
    is_long = ends - starts >= _MIN_SPEECH_FRAMES
    return [
        Span(int(start) * FRAME_SAMPLES, min(int(end) * FRAME_SAMPLES, num_samples))
        for start, end in zip(starts[is_long], ends[is_long], strict=True)
    ]


def _installed_weights() -> dict[str, Tensor]:
    # Not silero_vad_16k.safetensors, which holds another training of the same network.
    path = distribution("silero-vad").locate_file("silero_vad/data/silero_vad.jit")
    with warnings.catch_warnings():
        # TorchScript is deprecated, but the package has these weights in no other form that torch reads.
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = torch.jit.load(str(path), map_location="cpu")._model  # type: ignore[no-untyped-call]
    weights: dict[str, Tensor] = {"spectrum.weight": theirs.stft.forward_basis_buffer}
    for name, weight in theirs.named_parameters():
        match name.split("."):
            case ["encoder", index, _, kind]:
                weights[f"encoder.{index}.{kind}"] = weight
            case ["decoder", "rnn", kind]:
                weights[f"memory.{kind}_l0"] = weight
            case ["decoder", "decoder", _, kind]:
                weights[f"output.{kind}"] = weight
    return weights
