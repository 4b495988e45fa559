"""Synthesizes sentences with espeak-ng, as audio and as mel spectrograms that begin and end with the speech."""

import random
import re
import subprocess
import wave
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from recipes.whisper_mini.language import make_sentence

BASE_VOICES = {
    "en": ("en-us", "en-us", "en-us", "en-gb", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan"),
    "es": ("es", "es", "es-419"),
    "fr": ("fr-fr", "fr-fr", "fr-be", "fr-ch"),
}
"""espeak-ng's voices of each language. A voice that is listed several times is chosen more often."""

TRAINING_VARIANTS = (
    "", "", "", "", "m1", "m2", "m3", "m4", "m6", "m7", "f1", "f2", "f3", "f5",
    "Alex", "Andy", "Mike", "steph", "max", "linda", "michel", "pablo", "antonio", "anika",
)  # fmt: skip
"""Variants of the voices in the training set; "" is the voice itself."""

HELD_OUT_VARIANTS = ("m5", "m8", "f4", "Andrea", "edward", "belinda")
"""Variants in the test set only."""

_WORDS_PER_MINUTE = (130, 195)
_PITCHES = (25, 75)
_SILENCE_THRESHOLD = 0.01
"""As a fraction of the loudest sample: quieter samples at both ends are cut off."""
_NASAL = "\N{COMBINING TILDE}"
_PADDING = N_FFT // 2
"""Samples of silence added on both sides, so that a spectrogram fades in and out as it does inside a recording."""


@dataclass(frozen=True)
class Voice:
    language: str
    name: str
    """In espeak-ng's notation: en-us+f2."""
    words_per_minute: int
    pitch: int
    """0 to 99."""


@dataclass(frozen=True)
class Utterance:
    language: str
    text: str
    phones: str
    """The pronunciation in the International Phonetic Alphabet, one character per phone."""
    log_power: NDArray[np.float16]
    """log10 of the power in each mel band, shape (num_frames, 80), with the loudest sample at full scale."""


def choose_voice(language: str, variants: Sequence[str], rng: random.Random) -> Voice:
    base, variant = rng.choice(BASE_VOICES[language]), rng.choice(variants)
    name = f"{base}+{variant}" if variant else base
    return Voice(language, name, rng.randint(*_WORDS_PER_MINUTE), rng.randint(*_PITCHES))


def speak(text: str, voice: Voice) -> Waveform:
    """Return the synthesized speech with a peak of 1.0, without silence before and after it."""
    command = [
        "espeak-ng",
        "-v",
        voice.name,
        "-s",
        str(voice.words_per_minute),
        "-p",
        str(voice.pitch),
        "--stdout",
        text,
    ]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(BytesIO(wav)) as file:
        rate = file.getframerate()
    # espeak-ng writes the 44-byte header before it knows the length, so the length in it is wrong.
    samples = np.frombuffer(wav[44 : len(wav) - len(wav) % 2], np.int16)
    frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler("s16", "mono", SAMPLE_RATE)
    resampled = [part.to_ndarray()[0] for part in [*resampler.resample(frame), *resampler.resample(None)]]
    waveform = np.concatenate(resampled).astype(np.float32)
    waveform /= np.abs(waveform).max()
    (loud,) = np.nonzero(np.abs(waveform) > _SILENCE_THRESHOLD)
    return waveform[loud[0] : loud[-1] + 1]


def transcribe_phones(text: str, voice: Voice) -> str:
    """Return the pronunciation in IPA, without marks for stress, length or pauses."""
    command = ["espeak-ng", "-q", "--ipa", "-v", voice.name, text]
    ipa = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    # espeak-ng puts language codes in parentheses where it switches to another language for a foreign word.
    return "".join(
        char for char in re.sub(r"\(.*?\)", "", ipa) if char.isalpha() and char not in "ˈˌː" or char == _NASAL
    )


def synthesize_utterances(num_per_language: int, seed: int, num_workers: int) -> list[Utterance]:
    """Return `num_per_language` sentences of each language, in random voices of the training set."""
    jobs = [(language, seed + i) for i in range(num_per_language) for language in BASE_VOICES]
    with ProcessPoolExecutor(num_workers) as pool:
        return list(pool.map(_synthesize_utterance, jobs, chunksize=50))


def log_power(waveform: Waveform) -> NDArray[np.float16]:
    """Return log10 of the power in Whisper's mel bands, shape (num_frames, 80), including _PADDING on both sides."""
    padded = torch.from_numpy(np.pad(waveform, _PADDING))
    stft = torch.stft(padded, N_FFT, HOP_LENGTH, window=torch.hann_window(N_FFT), center=False, return_complex=True)
    power = mel_filters("cpu", 80) @ stft.abs() ** 2
    frames: NDArray[np.float16] = power.clamp(min=1e-10).log10().T.half().numpy()
    return frames


def _synthesize_utterance(job: tuple[str, int]) -> Utterance:
    torch.set_num_threads(1)
    language, seed = job
    rng = random.Random(f"{language} {seed}")
    text = make_sentence(language, rng)
    voice = choose_voice(language, TRAINING_VARIANTS, rng)
    return Utterance(language, text, transcribe_phones(text, voice), log_power(speak(text, voice)))
