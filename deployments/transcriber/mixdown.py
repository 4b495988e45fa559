"""Mixes stereo down to mono, so that no sound cancels out.

The mean of two channels loses what they hold in opposite phase: a microphone wired the wrong way round, a recording of
one voice with one inverted channel. So wherever the channels cancel out, their difference is taken instead of their
sum. This is decided for each frequency and moment by itself, because a voice in opposite phase can lie under music that
is in phase.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""Mono, shape (num_samples,)."""
StereoSamples = NDArray[np.int16]
"""Shape (num_samples, 2)."""

BLOCK_SAMPLES = 160_000
"""Samples that are mixed at a time: 10 seconds at 16 kHz. A multiple of the hop."""

_WINDOW_SAMPLES, _HOP_SAMPLES = 512, 256
"""32 ms and 16 ms at 16 kHz; the squared window adds up to 1 at this hop."""
_WINDOW = np.sin(np.pi * (np.arange(_WINDOW_SAMPLES) + 0.5) / _WINDOW_SAMPLES).astype(np.float32)
_SMOOTHED_FRAMES = 5
"""Frames (80 ms) over which energies are summed, so that the choice does not flicker."""
_CONTEXT_SAMPLES = 4 * _HOP_SAMPLES
"""Samples around a block on which its result depends: half the smoothed frames, and a window."""
_MIN_ENERGY_RATIO = 4.0
"""The difference is used if it has this many times the energy of the sum. Channels of the same level and independent
sound have a ratio of 1, sound in one channel only as well; at a ratio of 4, the sum still has half the amplitude of the
difference."""
_MIN_AUDIBLE_RATIO = 0.01
"""A difference that is 20 dB below the sum is not heard beside it."""
_MIN_AUDIBLE_ENERGY = 100.0
"""Of a sample, in squared steps of 16-bit audio: -70 dBFS."""


class StereoMixer:
    """Mixes the channels of a recording, which comes in chunks; the result does not depend on how it is cut."""

    def __init__(self) -> None:
        self._chunks: list[StereoSamples] = [np.zeros((_CONTEXT_SAMPLES, 2), np.int16)]
        self._num_samples = _CONTEXT_SAMPLES

    def mix(self, chunk: StereoSamples) -> Iterator[Samples]:
        """Yield what can be mixed now; the last samples wait for those after them."""
        self._chunks.append(chunk)
        self._num_samples += len(chunk)
        block_samples = BLOCK_SAMPLES + 2 * _CONTEXT_SAMPLES
        if self._num_samples >= block_samples:
            samples = np.concatenate(self._chunks)
            start = 0
            while len(samples) - start >= block_samples:
                yield _mix_block(samples[start : start + block_samples])
                start += BLOCK_SAMPLES
            self._chunks, self._num_samples = [samples[start:]], len(samples) - start

    def flush(self) -> Iterator[Samples]:
        """Yield the rest; the mixer is of no use afterwards."""
        num_samples = self._num_samples - _CONTEXT_SAMPLES
        padding = _CONTEXT_SAMPLES + -num_samples % _HOP_SAMPLES
        block = np.concatenate([*self._chunks, np.zeros((padding, 2), np.int16)])
        yield _mix_block(block)[:num_samples]


def _mix_block(block: StereoSamples) -> Samples:
    """Return the mix of a block without its context, which is _CONTEXT_SAMPLES at each end."""
    channels = block.T.astype(np.float32)
    inner = slice(_CONTEXT_SAMPLES, block.shape[0] - _CONTEXT_SAMPLES)
    mean = (channels[0, inner] + channels[1, inner]) / 2
    if _may_cancel(channels):
        mean -= _cancelled(channels)[inner]
    return np.rint(mean).clip(-32768, 32767).astype(np.int16)


def _may_cancel(channels: NDArray[np.float32]) -> bool:
    """Return whether the difference of the channels is ever loud enough to be missed; in most recordings it is not."""
    by_hop = channels.reshape(2, -1, _HOP_SAMPLES)
    left, right, both = (np.einsum("ij,ij->i", *pair) for pair in ((by_hop[0],) * 2, (by_hop[1],) * 2, by_hop))
    difference_energy = left + right - 2 * both
    sum_energy = left + right + 2 * both
    is_loud = difference_energy > _MIN_AUDIBLE_ENERGY * _HOP_SAMPLES
    return bool((is_loud & (difference_energy > _MIN_AUDIBLE_RATIO * sum_energy)).any())


def _cancelled(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the part of the right channel that is in opposite phase to the left one, shape (num_samples,).

    Subtracting it from the mean makes that part the difference of the channels. `channels` has shape (2, num_samples).
    """
    frames = np.lib.stride_tricks.sliding_window_view(channels, _WINDOW_SAMPLES, axis=1)[:, ::_HOP_SAMPLES]
    left, right = np.fft.rfft(frames * _WINDOW)
    sum_energy = _smooth(_energy(left + right))
    difference_energy = _smooth(_energy(left - right))
    is_opposite = difference_energy > _MIN_ENERGY_RATIO * sum_energy
    result = np.zeros(channels.shape[1], np.float32)
    if is_opposite.any():
        parts = np.fft.irfft(np.where(is_opposite, right, 0), n=_WINDOW_SAMPLES) * _WINDOW
        halves = parts.reshape(len(parts), 2, _HOP_SAMPLES)
        num_hops = len(parts)
        result[: num_hops * _HOP_SAMPLES] += halves[:, 0].ravel()
        result[_HOP_SAMPLES : (num_hops + 1) * _HOP_SAMPLES] += halves[:, 1].ravel()
    return result


def _energy(spectrum: NDArray[np.complexfloating]) -> NDArray[np.floating]:
    return spectrum.real**2 + spectrum.imag**2


def _smooth(energy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the sums over _SMOOTHED_FRAMES frames around each, shape (num_frames, num_frequencies)."""
    radius = _SMOOTHED_FRAMES // 2
    padded = np.pad(energy, ((radius, radius), (0, 0)))
    num_frames = len(energy)
    return sum((padded[shift : shift + num_frames] for shift in range(1, _SMOOTHED_FRAMES)), padded[:num_frames])
