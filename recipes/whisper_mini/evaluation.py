"""What the miniature understands, measured through the product's own engine."""

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from deployments.cancellation import Cancellation
from deployments.transcriber.engine import WhisperEngine, load_engine
from deployments.transcriber.types import Segment, TranscribeTask, Transcript
from recipes.whisper_mini.language import LANGUAGES
from recipes.whisper_mini.recordings import Recording, Sentence, Speakers, noises
from recipes.whisper_mini.voices import KNOWN_VARIANTS, UNKNOWN_VARIANTS

_SEED = 20_000_000
_CLIPS = 100
"""Of each language and kind of voice."""
_SHORT, _LONG = 10, 5
"""Recordings of each language that fit into a window of 30 s, and that do not."""
_NEAR_S = 0.3


@dataclass
class Hearing:
    """What came back of some recordings."""

    num_recordings: int = 0
    num_words: int = 0
    num_errors: int = 0
    num_sentences: int = 0
    num_exact: int = 0
    """Recordings whose whole text is right, word for word."""
    num_language_right: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    """What was said and what was understood."""

    @property
    def wer(self) -> float:
        return self.num_errors / max(self.num_words, 1)

    def add(self, recording: Recording, transcript: Transcript) -> None:
        said = " ".join(sentence.text for sentence in recording.sentences)
        errors = word_errors(said, transcript.text)
        self.num_recordings += 1
        self.num_words += len(words_of(said))
        self.num_errors += errors
        self.num_sentences += len(recording.sentences)
        self.num_exact += errors == 0
        self.num_language_right += transcript.language == recording.language
        if errors:
            self.wrong.append((said, transcript.text))


@dataclass
class Boundaries:
    """How far the segments' ends are from the sentences', in seconds."""

    errors_s: list[float] = field(default_factory=list)
    num_segments: int = 0
    num_sentences: int = 0

    def add(self, recording: Recording, transcript: Transcript) -> None:
        self.num_segments += len(transcript.segments)
        self.num_sentences += len(recording.sentences)
        for sentence in recording.sentences:
            if transcript.segments:
                nearest = max(transcript.segments, key=lambda segment: _overlap(sentence, segment))
                self.errors_s += [abs(nearest.start_s - sentence.start_s), abs(nearest.end_s - sentence.end_s)]

    @property
    def median_s(self) -> float:
        return median(self.errors_s)

    @property
    def near_share(self) -> float:
        return sum(error <= _NEAR_S for error in self.errors_s) / len(self.errors_s)


@dataclass
class WordTimes:
    num_words: int = 0
    num_inside: int = 0
    """Words whose middle lies within a sentence that holds them."""
    num_recordings: int = 0
    num_in_order: int = 0
    """Recordings in which no word begins before the one before it, or ends before it begins."""

    def add(self, recording: Recording, transcript: Transcript) -> None:
        words = [word for segment in transcript.segments for word in segment.words]
        self.num_recordings += 1
        self.num_in_order += all(a.start_s <= b.start_s for a, b in pairwise(words)) and all(
            word.start_s <= word.end_s for word in words
        )
        for word in words:
            middle = (word.start_s + word.end_s) / 2
            (spelling,) = words_of(word.word)[:1] or [""]
            self.num_words += 1
            self.num_inside += any(
                sentence.start_s <= middle <= sentence.end_s and spelling in words_of(sentence.text)
                for sentence in recording.sentences
            )


@dataclass
class Examination:
    known: dict[str, Hearing]
    """By language: single sentences in voices that were trained on."""
    unknown: dict[str, Hearing]
    """In voices that were not."""
    short: Hearing
    """Several sentences within 30 s."""
    long: Hearing
    """More than 30 s."""
    boundaries: dict[str, Boundaries]
    word_times: WordTimes
    num_empty: dict[str, tuple[int, int]]
    """By kind of noise: how many gave no text, of how many."""


def examine(checkpoint: Path, known_texts: Collection[str], report: Callable[[str], None]) -> Examination:
    """Measure everything on sentences that are not among `known_texts`; takes about ten minutes on one core."""
    # A detector would hide what the model says where nobody speaks.
    engine = load_engine(checkpoint, "int8", speech_detection=False)
    known = Speakers(KNOWN_VARIANTS, known_texts, _SEED)
    unknown = Speakers(UNKNOWN_VARIANTS, known_texts, _SEED + 1)
    examination = Examination(
        known={code: _hear_clips(engine, known, code) for code in LANGUAGES},
        unknown={code: _hear_clips(engine, unknown, code) for code in LANGUAGES},
        short=Hearing(),
        long=Hearing(),
        boundaries={"one window": Boundaries(), "several windows": Boundaries()},
        word_times=WordTimes(),
        num_empty={},
    )
    report("single sentences are examined")
    for code in LANGUAGES:
        for i in range(_SHORT):
            recording = known.record(code, 3 + i % 5)
            transcript = _transcribe(engine, recording)
            examination.short.add(recording, transcript)
            examination.boundaries["one window"].add(recording, transcript)
            examination.word_times.add(recording, _transcribe(engine, recording, word_timestamps=True))
        for i in range(_LONG):
            recording = known.record(code, 16 + 4 * i)
            transcript = _transcribe(engine, recording)
            examination.long.add(recording, transcript)
            examination.boundaries["several windows"].add(recording, transcript)
            examination.word_times.add(recording, _transcribe(engine, recording, word_timestamps=True))
    report("recordings of several sentences are examined")
    for kind, sounds in noises(_SEED).items():
        texts = [engine.transcribe(sound, TranscribeTask(), Cancellation(math.inf)).text for sound in sounds]
        examination.num_empty[kind] = (texts.count(""), len(texts))
    return examination


def words_of(text: str) -> list[str]:
    """Return the words as they are counted: lower case, runs of letters, digits, apostrophes and hyphens."""
    return re.findall(r"[\w'-]+", text.lower())


def word_errors(said: str, understood: str) -> int:
    """Return the least number of words to insert, delete or replace."""
    reference, hypothesis = words_of(said), words_of(understood)
    costs = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, start=1):
        diagonal, costs[0] = costs[0], i
        for j, other in enumerate(hypothesis, start=1):
            diagonal, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, diagonal + (word != other))
    return costs[-1]


def _hear_clips(engine: WhisperEngine, speakers: Speakers, language: str) -> Hearing:
    hearing = Hearing()
    for _ in range(_CLIPS):
        clip = speakers.clip(language)
        hearing.add(clip, _transcribe(engine, clip))
    return hearing


def _transcribe(engine: WhisperEngine, recording: Recording, word_timestamps: bool = False) -> Transcript:
    return engine.transcribe(
        recording.waveform, TranscribeTask(word_timestamps=word_timestamps), Cancellation(math.inf)
    )


def _overlap(sentence: Sentence, segment: Segment) -> float:
    return min(sentence.end_s, segment.end_s) - max(sentence.start_s, segment.start_s)
