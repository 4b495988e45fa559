"""Recordings to test the miniature with: what is said in them, when, and by whom is known; or nobody speaks."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from recipes.whisper_mini.language import make_sentence
from recipes.whisper_mini.voices import choose_voice, speak

NOISE_LEVELS_DB = (-60, -45, -30, -18, -6)
"""Root mean square, of full scale; peaks are cut off there."""
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


class Speakers:
    """Speaks sentences that are not among `known_texts`, each by a voice of one of the variants."""

    def __init__(self, variants: Sequence[str], known_texts: Collection[str], seed: int) -> None:
        self._variants = variants
        self._known_texts = known_texts
        self._rng = random.Random(seed)

    def clip(self, language: str) -> Recording:
        """Return one sentence with up to half a second of silence on each side."""
        return self.record(language, 1)

    def record(self, language: str, num_sentences: int) -> Recording:
        """Return sentences of one voice with pauses of 0.25 to 1.5 s, at most 26 dB below full scale."""
        rng = self._rng
        voice = choose_voice(language, self._variants, rng)
        parts = [_silence(rng.uniform(0.02, 0.5))]
        sentences = []
        for i in range(num_sentences):
            if i:
                parts.append(_silence(rng.uniform(0.25, 1.5)))
            text = self._new_text(language)
            spoken = speak(text, voice)
            start = sum(map(len, parts))
            sentences.append(Sentence(text, start / SAMPLE_RATE, (start + len(spoken)) / SAMPLE_RATE))
            parts.append(spoken)
        parts.append(_silence(rng.uniform(0.02, 0.5)))
        waveform = np.concatenate(parts) * 10 ** (rng.uniform(-26, 0) / 20)
        return Recording(language, sentences, as_decoded(waveform))

    def _new_text(self, language: str) -> str:
        while (text := make_sentence(language, self._rng)) in self._known_texts:
            pass
        return text


def as_decoded(waveform: NDArray[np.floating]) -> Waveform:
    """Return the waveform as it is after 16-bit sound."""
    samples: Waveform = (np.clip(waveform, -1, 1) * 32767).round().astype(np.float32)
    samples /= 32768
    return samples


def noises(seed: int) -> dict[str, list[Waveform]]:
    """Return sounds without speech by kind: of each of NOISE_LEVELS_DB and NOISE_DURATIONS_S, one."""
    rng = np.random.default_rng(seed)
    sounds: dict[str, list[Waveform]] = {
        "digital silence": [np.zeros(int(duration_s * SAMPLE_RATE), np.float32) for duration_s in NOISE_DURATIONS_S]
    }
    for kind, make in _NOISES.items():
        sounds[kind] = []
        for duration_s in NOISE_DURATIONS_S:
            for level_db in NOISE_LEVELS_DB:
                sound = make(rng, int(duration_s * SAMPLE_RATE))
                level = 10 ** (level_db / 20) / np.sqrt(np.mean(sound**2))
                sounds[kind].append(as_decoded(sound * level))
    return sounds


def _silence(duration_s: float) -> Waveform:
    return np.zeros(int(duration_s * SAMPLE_RATE), np.float32)


def _coloured(rng: np.random.Generator, count: int, exponent: float) -> NDArray[np.float64]:
    """Return noise whose power falls with frequency as f ** -exponent, from 20 Hz on."""
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
    """Return about three clicks a second, each gone after a few milliseconds."""
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
