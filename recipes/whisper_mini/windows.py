"""Training samples: windows composed of utterances, pauses and noise, as mel spectrograms with their target tokens.

Where sounds overlap, their power spectra are added, so composing a window is cheap. To save time, a sample may be only
a part of Whisper's 30 s window, which begins at position `offset`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from whisper.tokenizer import Tokenizer, get_tokenizer

from recipes.whisper_mini.language import LANGUAGES
from recipes.whisper_mini.voices import Utterance

MAX_POSITIONS = 1500
"""Positions of the encoder in a window of 30 s. Each is two frames, 20 ms."""
NOT_SPOKEN = -1.0
"""The time of tokens that are not in the audio: those of the prefix, and <|endoftext|>."""

_NUM_MELS = 80
_FRAMES_PER_POSITION = 2
_LATEST_FIRST_TIMESTAMP = 50
"""In positions. Whisper's decoding rules allow no later timestamp at the beginning of a window."""

_NO_SPEECH_PROBABILITY = 0.06
_ZERO_PADDING_PROBABILITY = 0.65
_NO_TIMESTAMPS_PROBABILITY = 0.2
"""Whisper computes word timestamps in a pass without timestamp tokens, so the model must know that format too."""
_PACKED_PROBABILITY = 0.75
"""Probability of a window with sentences up to its end; in the others, speech ends earlier."""
_MIN_CUT_SENTENCE_S = 0.06
"""The shortest part of a sentence that the end of the window may cut off from the rest."""


@dataclass(frozen=True)
class Span:
    """A sentence in a window; start and end are in positions from the beginning of the sample."""

    start: int
    end: int
    text: str
    phones: str


@dataclass(frozen=True)
class Window:
    """One training sample."""

    mel: NDArray[np.float32]
    """Shape (80, 2 * num_positions), scaled as `whisper.log_mel_spectrogram` does."""
    offset: int
    """The position in Whisper's 30 s window at which the spectrogram begins."""
    tokens: list[int]
    """From <|startoftranscript|> to <|endoftext|>."""
    token_times: list[float]
    """The time of each token, in positions from the beginning of the spectrogram, or NOT_SPOKEN."""
    first_token: int
    """The target at <|startoftranscript|>: the language token, or <|nospeech|>."""
    num_prefix_tokens: int
    """How many of `tokens` the model is given (start, language, task); the rest are targets."""
    spans: list[Span]
    """The complete sentences."""
    language_labels: NDArray[np.int64]
    """The language spoken at each position, shape (num_positions,): 0 for none, else 1 + its index in LANGUAGES."""


class WindowComposer:
    """Composes random windows from `utterances`, given by language."""

    def __init__(self, utterances: Mapping[str, Sequence[Utterance]], rng: np.random.Generator) -> None:
        self._utterances = utterances
        self._rng = rng
        self._tokenizers = {code: get_tokenizer(True, num_languages=99, language=code) for code in utterances}
        # In white noise, the power in each frame and band is exponentially distributed.
        self._fluctuations = rng.exponential(size=(8 * MAX_POSITIONS, _NUM_MELS)).astype(np.float32)

    def compose(self, num_positions: int) -> Window:
        """Return a window of `num_positions` positions, with speech in one language or without speech."""
        rng = self._rng
        language = LANGUAGES[rng.integers(len(LANGUAGES))]
        num_frames = num_positions * _FRAMES_PER_POSITION
        offset = self._choose_offset(num_positions)
        if rng.random() < _NO_SPEECH_PROBABILITY:
            return self._without_speech(language, num_frames, offset)

        reaches_end = offset + num_positions == MAX_POSITIONS and rng.random() < 0.6
        is_packed = reaches_end or rng.random() < _PACKED_PROBABILITY
        padding_start = num_frames if is_packed else int(rng.uniform(min(100, num_frames // 2), num_frames))
        placed, cut_sentence = self._place(language, padding_start, reaches_end)
        if not placed:
            return self._without_speech(language, num_frames, offset)
        last_end = placed[-1][0] + len(placed[-1][1].log_power)
        if not reaches_end and rng.random() < 0.7:
            padding_start = min(num_frames, last_end + int(rng.uniform(0, 120)))

        power = np.zeros((num_frames, _NUM_MELS), np.float32)
        gain = 10 ** (rng.triangular(-30, 0, 0) / 10) * self._equalizer()
        language_labels = np.zeros(num_positions, np.int64)
        for start, utterance in placed + ([cut_sentence] if cut_sentence else []):
            sound = np.power(10, utterance.log_power[: num_frames - start].astype(np.float32))
            power[start : start + len(sound)] += sound * (gain * 10 ** rng.uniform(-0.3, 0.3))
            language_labels[start // 2 : (start + len(sound)) // 2] = 1 + LANGUAGES.index(language)
        if rng.random() < 0.15:
            self._add_previous_sentence_end(power, gain, language, placed[0][0])
        if rng.random() < 0.4:
            speech = power[power.max(axis=1) > 0].mean()
            power += self._noise(num_frames) * speech * 10 ** (-rng.uniform(15, 50) / 10)

        spans = [
            Span(start // 2, round((start + len(utterance.log_power) - 1) / 2), utterance.text, utterance.phones)
            for start, utterance in placed
        ]
        tokenizer = self._tokenizers[language]
        with_timestamps = cut_sentence is not None or rng.random() >= _NO_TIMESTAMPS_PROBABILITY
        prefix = list(tokenizer.sot_sequence if with_timestamps else tokenizer.sot_sequence_including_notimestamps)
        targets, token_times = self._targets(tokenizer, spans, offset, with_timestamps)
        if cut_sentence is not None:
            targets.append(tokenizer.timestamp_begin + offset + cut_sentence[0] // 2)
            token_times.append(cut_sentence[0] / 2)
        return Window(
            mel=self._scale(power, padding_start, augment=True),
            offset=offset,
            tokens=[*prefix, *targets, tokenizer.eot],
            token_times=[*(NOT_SPOKEN for _ in prefix), *token_times, NOT_SPOKEN],
            first_token=tokenizer.language_token,
            num_prefix_tokens=len(prefix),
            spans=spans,
            language_labels=language_labels,
        )

    def _choose_offset(self, num_positions: int) -> int:
        room = MAX_POSITIONS - num_positions
        choice = self._rng.random()
        if choice < 0.45:
            return 0
        return room if choice < 0.65 else int(self._rng.integers(room + 1))

    def _place(
        self, language: str, end: int, reaches_end: bool
    ) -> tuple[list[tuple[int, Utterance]], tuple[int, Utterance] | None]:
        """Choose sentences, and place them before frame `end`.

        Returns each complete sentence with its first frame, and likewise the sentence that the end of the window cuts
        off, if any.
        """
        rng = self._rng
        utterances = self._utterances[language]
        placed: list[tuple[int, Utterance]] = []
        max_sentences = 99 if rng.random() < 0.85 else int(rng.integers(1, 5))
        start = int(rng.uniform(0, 30) if rng.random() < 0.6 else rng.exponential(100))
        while len(placed) < max_sentences:
            utterance = utterances[int(rng.integers(len(utterances)))]
            if start + len(utterance.log_power) > end:
                is_cut = reaches_end and placed and start + 100 * _MIN_CUT_SENTENCE_S < end
                if is_cut:
                    return placed, (start, utterance)
                if placed or start > end - 60:
                    break
                start = int(rng.uniform(0, 20))
                if min(len(candidate.log_power) for candidate in utterances[:200]) > end - start:
                    break
                continue
            placed.append((start, utterance))
            pause = rng.uniform(200, 700) if rng.random() < 0.06 else rng.uniform(12, 30) + rng.exponential(35)
            start += len(utterance.log_power) + int(pause)
        return placed, None

    def _targets(
        self, tokenizer: Tokenizer, spans: list[Span], offset: int, with_timestamps: bool
    ) -> tuple[list[int], list[float]]:
        """Return the tokens of the sentences, and the time of each token as in `Window.token_times`."""
        targets: list[int] = []
        token_times: list[float] = []
        for i, span in enumerate(spans):
            start, end = span.start + offset, span.end + offset
            if i == 0 and offset == 0:
                start = min(start, _LATEST_FIRST_TIMESTAMP)
            text = tokenizer.encode(f" {span.text}")
            times = _token_times(tokenizer, text, span)
            if with_timestamps:
                text = [tokenizer.timestamp_begin + start, *text, tokenizer.timestamp_begin + end]
                times = [span.start, *times, span.end]
            targets += text
            token_times += times
        return targets, token_times

    def _without_speech(self, language: str, num_frames: int, offset: int) -> Window:
        rng = self._rng
        padding_start = int(rng.uniform(min(50, num_frames // 2), num_frames + 1))
        power = np.zeros((num_frames, _NUM_MELS), np.float32)
        if rng.random() < 0.85:
            power += self._noise(num_frames) * 10 ** rng.uniform(-9, 2)
        tokenizer = self._tokenizers[language]
        prefix = list(tokenizer.sot_sequence)
        return Window(
            mel=self._scale(power, padding_start, augment=False),
            offset=offset,
            tokens=[*prefix, tokenizer.timestamp_begin + offset, tokenizer.eot],
            token_times=[NOT_SPOKEN] * (len(prefix) + 2),
            first_token=tokenizer.no_speech,
            num_prefix_tokens=len(prefix),
            spans=[],
            language_labels=np.zeros(num_frames // _FRAMES_PER_POSITION, np.int64),
        )

    def _equalizer(self) -> NDArray[np.float32]:
        """Return a gain for each mel band, which imitates another room, microphone or codec."""
        rng = self._rng
        bands = np.linspace(0, 1, _NUM_MELS, dtype=np.float32)
        exponent = rng.uniform(-1, 1) * (bands - 0.5)
        exponent += 0.3 * rng.uniform() * np.cos(2 * np.pi * (rng.uniform(0.5, 3) * bands + rng.uniform()))
        if rng.random() < 0.1:
            exponent[int(rng.integers(50, _NUM_MELS)) :] -= 5
        factors: NDArray[np.float32] = np.power(10, exponent, dtype=np.float32)
        return factors

    def _noise(self, num_frames: int) -> NDArray[np.float32]:
        """Return the power of steady, tonal or crackling noise, shape (num_frames, 80), with a mean of about 1."""
        rng = self._rng
        first = rng.integers(len(self._fluctuations) - num_frames)
        cells = self._fluctuations[first : first + num_frames]
        if rng.random() < 0.5:
            cells = 0.5 * (cells + self._fluctuations[-num_frames:][:, ::-1])
        bands = np.linspace(0, 1, _NUM_MELS, dtype=np.float32)
        shape = np.power(10, rng.uniform(-4, 2) * bands) * self._equalizer()
        kind = rng.random()
        if kind < 0.2:
            tones = np.zeros(_NUM_MELS, np.float32)
            tones[rng.integers(_NUM_MELS, size=int(rng.integers(1, 9)))] = 1
            shape = tones + np.roll(tones, 1) * rng.uniform(0, 0.5) + shape * 10 ** rng.uniform(-8, -1)
            cells = cells * 0.02 + 1 if rng.random() < 0.7 else cells
        noise = cells * (shape / shape.mean())
        if kind > 0.8:
            is_loud = rng.random(num_frames) < rng.uniform(0.005, 0.1)
            noise = noise * np.where(is_loud, 1, 10 ** rng.uniform(-8, -1))[:, None]
        elif kind > 0.6:
            swell = np.sin(np.arange(num_frames) * rng.uniform(0.001, 0.1) + rng.uniform(0, 6))
            noise = noise * np.power(10, rng.uniform(0, 1) * swell)[:, None]
        result: NDArray[np.float32] = noise.astype(np.float32)
        return result

    def _add_previous_sentence_end(
        self, power: NDArray[np.float32], gain: NDArray[np.float32], language: str, start: int
    ) -> None:
        """Add the last few frames of a sentence that belongs to the previous window."""
        length = min(start, int(self._rng.integers(1, 9)))
        if length:
            utterances = self._utterances[language]
            tail = utterances[int(self._rng.integers(len(utterances)))].log_power[-length:]
            power[:length] += np.power(10, tail.astype(np.float32)) * gain

    def _scale(self, power: NDArray[np.float32], padding_start: int, augment: bool) -> NDArray[np.float32]:
        """Return the mel spectrogram as `whisper.log_mel_spectrogram` scales it, padded from frame `padding_start` on.

        The padding is one of the two kinds that Whisper uses: zeros for decoding, silence for language detection.
        """
        rng = self._rng
        mel = np.log10(np.maximum(power, 1e-10))
        if augment:
            self._mask(mel)
        loudest = mel[:padding_start].max() + (rng.uniform(0, 1) if rng.random() < 0.2 else 0)
        mel[padding_start:] = -10
        mel = (np.maximum(mel, loudest - 8) + 4) / 4
        if rng.random() < _ZERO_PADDING_PROBABILITY:
            mel[padding_start:] = 0
        return np.ascontiguousarray(mel.T)

    def _mask(self, mel: NDArray[np.float32]) -> None:
        """Mask random bands and frames in place (SpecAugment, arXiv 1904.08779)."""
        rng = self._rng
        mean = mel.mean()
        if rng.random() < 0.5:
            band = int(rng.integers(_NUM_MELS))
            mel[:, band : band + int(rng.integers(1, 10))] = mean
        for _ in range(len(mel) // 250):
            frame = int(rng.integers(len(mel)))
            mel[frame : frame + int(rng.integers(1, 7))] = mean


def _token_times(tokenizer: Tokenizer, text: list[int], span: Span) -> list[float]:
    """Return the approximate middle of each token of a sentence, assuming that every letter takes the same time."""
    ends = np.cumsum([len(tokenizer.decode([token])) for token in text])
    middles = (ends + np.concatenate([[0], ends[:-1]])) / 2 / ends[-1]
    token_times: list[float] = (span.start + (span.end - span.start) * middles).tolist()
    return token_times
