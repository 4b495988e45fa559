"""Speech from espeak-ng, as log-mel spectrograms whose first and last moments of sound are known."""

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

BASES = {
    "en": ("en-us", "en-us", "en-us", "en-gb", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan"),
    "es": ("es", "es", "es-419"),
    "fr": ("fr-fr", "fr-fr", "fr-be", "fr-ch"),
}
"""espeak-ng's voices of each language, the commoner ones several times."""

KNOWN_VARIANTS = (
    "", "", "", "", "m1", "m2", "m3", "m4", "m6", "m7", "f1", "f2", "f3", "f5",
    "Alex", "Andy", "Mike", "steph", "max", "linda", "michel", "pablo", "antonio", "anika",
)  # fmt: skip
"""Variants of a voice that the miniature is trained on; "" is the voice itself."""

UNKNOWN_VARIANTS = ("m5", "m8", "f4", "Andrea", "edward", "belinda")
"""Never trained on."""

_WORDS_A_MINUTE = (130, 195)
_PITCHES = (25, 75)
_SOUND = 0.01
"""Of the loudest sample: where an utterance begins and ends."""
_NASAL = "\N{COMBINING TILDE}"
_MARGIN = N_FFT // 2
"""Samples kept on both sides, so that a spectrogram fades in and out as it would inside a recording."""


@dataclass(frozen=True)
class Voice:
    language: str
    name: str
    """As espeak-ng takes it: en-us+f2."""
    words_a_minute: int
    pitch: int
    """0 to 99."""


@dataclass(frozen=True)
class Utterance:
    language: str
    text: str
    phones: str
    """How it is pronounced, a character of the phonetic alphabet (IPA) each."""
    log_power: NDArray[np.float16]
    """log10 of the power in each mel band, shape (num_frames, 80), the loudest sample at full scale."""


def choose_voice(language: str, variants: Sequence[str], rng: random.Random) -> Voice:
    base, variant = rng.choice(BASES[language]), rng.choice(variants)
    name = f"{base}+{variant}" if variant else base
    return Voice(language, name, rng.randint(*_WORDS_A_MINUTE), rng.randint(*_PITCHES))


def speak(text: str, voice: Voice) -> Waveform:
    """Return the text spoken, peak 1.0, without the silence before and after it."""
    command = ["espeak-ng", "-v", voice.name, "-s", str(voice.words_a_minute), "-p", str(voice.pitch), "--stdout", text]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(BytesIO(spoken)) as file:
        rate = file.getframerate()
    # espeak-ng does not know the length when it writes the header of 44 bytes.
    samples = np.frombuffer(spoken[44 : len(spoken) - len(spoken) % 2], np.int16)
    frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler("s16", "mono", SAMPLE_RATE)
    resampled = [part.to_ndarray()[0] for part in [*resampler.resample(frame), *resampler.resample(None)]]
    waveform = np.concatenate(resampled).astype(np.float32)
    waveform /= np.abs(waveform).max()
    (loud,) = np.nonzero(np.abs(waveform) > _SOUND)
    return waveform[loud[0] : loud[-1] + 1]


def phones_of(text: str, voice: Voice) -> str:
    """Return the pronunciation without stress, length and pauses."""
    command = ["espeak-ng", "-q", "--ipa", "-v", voice.name, text]
    transcribed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    # In parentheses stand the languages that a foreign word switches to and back from.
    return "".join(
        sign for sign in re.sub(r"\(.*?\)", "", transcribed) if sign.isalpha() and sign not in "ˈˌː" or sign == _NASAL
    )


def make_utterances(num_per_language: int, seed: int, num_workers: int) -> list[Utterance]:
    """Return that many sentences of each language in known voices, in the order of their seeds."""
    jobs = [(language, seed + i) for i in range(num_per_language) for language in BASES]
    with ProcessPoolExecutor(num_workers) as pool:
        return list(pool.map(_make_utterance, jobs, chunksize=50))


def log_power(waveform: Waveform) -> NDArray[np.float16]:
    """Return log10 of the power in Whisper's mel bands, shape (num_frames, 80), with _MARGIN of silence around."""
    padded = torch.from_numpy(np.pad(waveform, _MARGIN))
    stft = torch.stft(padded, N_FFT, HOP_LENGTH, window=torch.hann_window(N_FFT), center=False, return_complex=True)
    power = mel_filters("cpu", 80) @ stft.abs() ** 2
    frames: NDArray[np.float16] = power.clamp(min=1e-10).log10().T.half().numpy()
    return frames


def _make_utterance(job: tuple[str, int]) -> Utterance:
    torch.set_num_threads(1)
    language, seed = job
    rng = random.Random(f"{language} {seed}")
    text = make_sentence(language, rng)
    voice = choose_voice(language, KNOWN_VARIANTS, rng)
    return Utterance(language, text, phones_of(text, voice), log_power(speak(text, voice)))
