"""Evaluates whisper-mini with the product's own engine: word errors, times, and text where nobody speaks."""

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from deployments.cancellation import Cancellation
from deployments.transcriber.engine import WhisperEngine, load_engine
from deployments.transcriber.types import TranscribeTask, Transcript, TranscriptSegment
from recipes.whisper_mini.language import LANGUAGES
from recipes.whisper_mini.recordings import Recorder, Recording, Sentence, make_noises
from recipes.whisper_mini.voices import HELD_OUT_VARIANTS, TRAINING_VARIANTS

_SEED = 20_000_000
"""For the test set; the training set has another seed."""
_NUM_SENTENCES = 100
"""Recordings of a single sentence, for each language and each kind of voice."""
_NUM_SHORT, _NUM_LONG = 10, 5
"""Recordings of several sentences for each language: shorter and longer than a window of 30 s."""
_TOLERANCE_S = 0.3
"""For the start and end times of segments."""


@dataclass
class Recognition:
    """How much of some recordings was transcribed correctly."""

    num_recordings: int = 0
    num_words: int = 0
    num_errors: int = 0
    num_sentences: int = 0
    num_exact: int = 0
    """Recordings whose whole text is correct, word for word."""
    num_correct_language: int = 0
    mistakes: list[tuple[str, str]] = field(default_factory=list)
    """Reference and transcript of the recordings with errors."""

    @property
    def wer(self) -> float:
        """The word error rate."""
        return self.num_errors / max(self.num_words, 1)

    def add(self, recording: Recording, transcript: Transcript) -> None:
        reference = " ".join(sentence.text for sentence in recording.sentences)
        errors = word_errors(reference, transcript.text)
        self.num_recordings += 1
        self.num_words += len(split_words(reference))
        self.num_errors += errors
        self.num_sentences += len(recording.sentences)
        self.num_exact += errors == 0
        self.num_correct_language += transcript.language == recording.language
        if errors:
            self.mistakes.append((reference, transcript.text))


@dataclass
class BoundaryErrors:
    """How far the start and end times of segments are from those of the sentences."""

    errors_s: list[float] = field(default_factory=list)
    num_segments: int = 0
    num_sentences: int = 0

    def add(self, recording: Recording, transcript: Transcript) -> None:
        self.num_segments += len(transcript.segments)
        self.num_sentences += len(recording.sentences)
        for sentence in recording.sentences:
            if transcript.segments:
                segment = max(transcript.segments, key=lambda candidate: _overlap(sentence, candidate))
                self.errors_s += [abs(segment.start_s - sentence.start_s), abs(segment.end_s - sentence.end_s)]

    @property
    def median_s(self) -> float:
        return median(self.errors_s)

    @property
    def fraction_within_tolerance(self) -> float:
        return sum(error <= _TOLERANCE_S for error in self.errors_s) / len(self.errors_s)


@dataclass
class WordTimes:
    """How plausible the word timestamps are."""

    num_words: int = 0
    num_inside: int = 0
    """Words whose middle lies within a sentence that contains them."""
    num_recordings: int = 0
    num_in_order: int = 0
    """Recordings in which no word begins before the previous one, or ends before it begins."""

    def add(self, recording: Recording, transcript: Transcript) -> None:
        words = [word for segment in transcript.segments for word in segment.words]
        self.num_recordings += 1
        self.num_in_order += all(a.start_s <= b.start_s for a, b in pairwise(words)) and all(
            word.start_s <= word.end_s for word in words
        )
        for word in words:
            middle = (word.start_s + word.end_s) / 2
            (text,) = split_words(word.word)[:1] or [""]
            self.num_words += 1
            self.num_inside += any(
                sentence.start_s <= middle <= sentence.end_s and text in split_words(sentence.text)
                for sentence in recording.sentences
            )


@dataclass
class Evaluation:
    training_voices: dict[str, Recognition]
    """Single sentences in voices of the training set, by language."""
    held_out_voices: dict[str, Recognition]
    """Single sentences in other voices, by language."""
    short: Recognition
    """Several sentences that fit into one window of 30 s."""
    long: Recognition
    """Recordings longer than 30 s."""
    boundary_errors: dict[str, BoundaryErrors]
    """For "one window" and "several windows"."""
    word_times: WordTimes
    num_empty: dict[str, tuple[int, int]]
    """By kind of noise: how many recordings gave no text, and how many there are."""


def evaluate(checkpoint: Path, training_texts: Collection[str], report: Callable[[str], None]) -> Evaluation:
    """Evaluate the checkpoint on sentences that are not in `training_texts`; takes about ten minutes on one core."""
    # Speech detection would hide text that the model invents where nobody speaks.
    engine = load_engine(checkpoint, "int8", speech_detection=False)
    recorder = Recorder(TRAINING_VARIANTS, training_texts, _SEED)
    held_out_recorder = Recorder(HELD_OUT_VARIANTS, training_texts, _SEED + 1)
    evaluation = Evaluation(
        training_voices={code: _evaluate_sentences(engine, recorder, code) for code in LANGUAGES},
        held_out_voices={code: _evaluate_sentences(engine, held_out_recorder, code) for code in LANGUAGES},
        short=Recognition(),
        long=Recognition(),
        boundary_errors={"one window": BoundaryErrors(), "several windows": BoundaryErrors()},
        word_times=WordTimes(),
        num_empty={},
    )
    report("single sentences evaluated")
    for code in LANGUAGES:
        for i in range(_NUM_SHORT):
            recording = recorder.record(code, 3 + i % 5)
            transcript = _transcribe(engine, recording)
            evaluation.short.add(recording, transcript)
            evaluation.boundary_errors["one window"].add(recording, transcript)
            evaluation.word_times.add(recording, _transcribe(engine, recording, word_timestamps=True))
        for i in range(_NUM_LONG):
            recording = recorder.record(code, 16 + 4 * i)
            transcript = _transcribe(engine, recording)
            evaluation.long.add(recording, transcript)
            evaluation.boundary_errors["several windows"].add(recording, transcript)
            evaluation.word_times.add(recording, _transcribe(engine, recording, word_timestamps=True))
    report("recordings of several sentences evaluated")
    for kind, waveforms in make_noises(_SEED).items():
        texts = [engine.transcribe(waveform, TranscribeTask(), Cancellation(math.inf)).text for waveform in waveforms]
        evaluation.num_empty[kind] = (texts.count(""), len(texts))
    return evaluation


def split_words(text: str) -> list[str]:
    """Return the words in lower case: runs of letters, digits, apostrophes and hyphens."""
    return re.findall(r"[\w'-]+", text.lower())


def word_errors(reference: str, hypothesis: str) -> int:
    """Return the Levenshtein distance in words: the fewest insertions, deletions and substitutions."""
    expected, actual = split_words(reference), split_words(hypothesis)
    costs = list(range(len(actual) + 1))
    for i, word in enumerate(expected, start=1):
        diagonal, costs[0] = costs[0], i
        for j, other in enumerate(actual, start=1):
            diagonal, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, diagonal + (word != other))
    return costs[-1]


def _evaluate_sentences(engine: WhisperEngine, recorder: Recorder, language: str) -> Recognition:
    recognition = Recognition()
    for _ in range(_NUM_SENTENCES):
        recording = recorder.record_sentence(language)
        recognition.add(recording, _transcribe(engine, recording))
    return recognition


def _transcribe(engine: WhisperEngine, recording: Recording, word_timestamps: bool = False) -> Transcript:
    return engine.transcribe(
        recording.waveform, TranscribeTask(word_timestamps=word_timestamps), Cancellation(math.inf)
    )


def _overlap(sentence: Sentence, segment: TranscriptSegment) -> float:
    return min(sentence.end_s, segment.end_s) - max(sentence.start_s, segment.start_s)
