"""Test recordings: synthesized speech with known text and times, and noise without speech."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from recipes.whisper_mini.language import make_sentence
from recipes.whisper_mini.voices import choose_voice, speak

NOISE_LEVELS_DB = (-60, -45, -30, -18, -6)
"""Root mean square, relative to full scale. Peaks above full scale are clipped."""
NOISE_DURATIONS_S = (2.0, 12.0, 40.0)


@dataclass(frozen=True)
class Sentence:
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Recording:
    language: str
    sentences: list[Sentence]
    waveform: Waveform


class Recorder:
    """Makes recordings of random sentences, in random voices of the given variants.

    Sentences in `training_texts` are left out.
    """

    def __init__(self, variants: Sequence[str], training_texts: Collection[str], seed: int) -> None:
        self._variants = variants
        self._training_texts = training_texts
        self._rng = random.Random(seed)

    def record_sentence(self, language: str) -> Recording:
        """Return one sentence with up to half a second of silence on each side."""
        return self.record(language, 1)

    def record(self, language: str, num_sentences: int) -> Recording:
        """Return sentences in one voice, with pauses of 0.25 to 1.5 s, and a peak of -26 to 0 dB of full scale."""
        rng = self._rng
        voice = choose_voice(language, self._variants, rng)
        parts = [_silence(rng.uniform(0.02, 0.5))]
        sentences = []
        for i in range(num_sentences):
            if i:
                parts.append(_silence(rng.uniform(0.25, 1.5)))
            text = self._new_text(language)
            speech = speak(text, voice)
            start = sum(map(len, parts))
            sentences.append(Sentence(text, start / SAMPLE_RATE, (start + len(speech)) / SAMPLE_RATE))
            parts.append(speech)
        parts.append(_silence(rng.uniform(0.02, 0.5)))
        waveform = np.concatenate(parts) * 10 ** (rng.uniform(-26, 0) / 20)
        return Recording(language, sentences, quantize_to_16_bits(waveform))

    def _new_text(self, language: str) -> str:
        while (text := make_sentence(language, self._rng)) in self._training_texts:
            pass
        return text


def quantize_to_16_bits(waveform: NDArray[np.floating]) -> Waveform:
    """Return the waveform as decoded from a 16-bit file."""
    samples: Waveform = (np.clip(waveform, -1, 1) * 32767).round().astype(np.float32)
    samples /= 32768
    return samples


def make_noises(seed: int) -> dict[str, list[Waveform]]:
    """Return noise without speech, by kind: one waveform for each level and duration.

    Digital silence has one for each duration.
    """
    rng = np.random.default_rng(seed)
    noises: dict[str, list[Waveform]] = {
        "digital silence": [np.zeros(int(duration_s * SAMPLE_RATE), np.float32) for duration_s in NOISE_DURATIONS_S]
    }
    for kind, make in _NOISES.items():
        noises[kind] = []
        for duration_s in NOISE_DURATIONS_S:
            for level_db in NOISE_LEVELS_DB:
                sound = make(rng, int(duration_s * SAMPLE_RATE))
                level = 10 ** (level_db / 20) / np.sqrt(np.mean(sound**2))
                noises[kind].append(quantize_to_16_bits(sound * level))
    return noises


def _silence(duration_s: float) -> Waveform:
    return np.zeros(int(duration_s * SAMPLE_RATE), np.float32)


def _coloured(rng: np.random.Generator, count: int, exponent: float) -> NDArray[np.float64]:
    """Return noise with a power spectrum proportional to f ** -exponent above 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * np.maximum(hertz, 20) ** (-exponent / 2), count)


def _hum(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    t = np.arange(count) / SAMPLE_RATE
    mains = sum(np.sin(2 * np.pi * 50 * k * t + rng.uniform(0, 6)) / k for k in range(1, 9))
    return np.asarray(mains + 0.01 * rng.standard_normal(count))


def _tone(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.asarray(np.sin(2 * np.pi * rng.uniform(200, 3000) * np.arange(count) / SAMPLE_RATE))


def _clicks(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return about three clicks per second, each a few milliseconds long."""
    clicks = (rng.random(count) < 3 / SAMPLE_RATE) * rng.uniform(0.3, 1, count)
    clicks[count // 2] = 1
    decay = np.exp(-np.arange(400) / 60) * rng.standard_normal(400)
    return np.convolve(clicks, decay)[:count]


_NOISES: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "white noise": lambda rng, count: rng.standard_normal(count),
    "pink noise": lambda rng, count: _coloured(rng, count, 1),
    "brown noise": lambda rng, count: _coloured(rng, count, 2),
    "mains hum": _hum,
    "a tone": _tone,
    "clicks": _clicks,
}
