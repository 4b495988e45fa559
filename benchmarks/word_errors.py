"""Compares a transcript with what was said, word by word."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Literal

from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

Operation = Literal["equal", "substitution", "deletion", "insertion"]

_WITHOUT_SPACES = ("ja", "lo", "my", "th", "yue", "zh")
"""Languages of which characters are counted instead of words, as in Radford et al. 2022, appendix C."""


@dataclass(frozen=True)
class TimedWord:
    """A word with its start and end in seconds."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Step:
    """One step of an alignment: a word of the reference, of the transcript, or both."""

    operation: Operation
    expected: int | None
    """Index in the reference; None for an insertion."""
    got: int | None
    """Index in the transcript; None for a deletion."""


@dataclass(frozen=True)
class Errors:
    """Counts of one or several transcripts."""

    words: int = 0
    """Of the reference, after normalizing."""
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    missed: int = 0
    """Recordings with words whose transcript is empty."""
    invented: int = 0
    """Recordings without words whose transcript is not empty."""

    @property
    def rate(self) -> float | None:
        """Wrong words per word of the reference; None if it has no words."""
        return (self.substitutions + self.deletions + self.insertions) / self.words if self.words else None

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.missed + other.missed,
            self.invented + other.invented,
        )


@cache
def _normalizer(language: str) -> BasicTextNormalizer | EnglishTextNormalizer:
    if language == "en":
        return EnglishTextNormalizer()
    return BasicTextNormalizer(split_letters=language in _WITHOUT_SPACES)


def normalized_words(text: str, language: str) -> list[str]:
    """Return the words of a text as Whisper's own normalizers compare them, for a Whisper language code."""
    words: list[str] = _normalizer(language)(text).split()
    return words


def align(expected: Sequence[str], got: Sequence[str]) -> list[Step]:
    """Return an alignment with as few substitutions, deletions and insertions as possible, in order."""
    costs = [list(range(len(got) + 1))]
    for i, word in enumerate(expected, 1):
        row = [i]
        for j, other in enumerate(got, 1):
            row.append(min(costs[-1][j - 1] + (word != other), costs[-1][j] + 1, row[-1] + 1))
        costs.append(row)
    steps = []
    i, j = len(expected), len(got)
    while i or j:
        if i and j and costs[i][j] == costs[i - 1][j - 1] + (expected[i - 1] != got[j - 1]):
            i, j = i - 1, j - 1
            steps.append(Step("equal" if expected[i] == got[j] else "substitution", i, j))
        elif i and costs[i][j] == costs[i - 1][j] + 1:
            i -= 1
            steps.append(Step("deletion", i, None))
        else:
            j -= 1
            steps.append(Step("insertion", None, j))
    return steps[::-1]


def count_errors(expected: str, got: str, language: str) -> Errors:
    """Return the errors of one transcript."""
    words, transcribed = normalized_words(expected, language), normalized_words(got, language)
    operations = [step.operation for step in align(words, transcribed)]
    return Errors(
        len(words),
        operations.count("substitution"),
        operations.count("deletion"),
        operations.count("insertion"),
        missed=int(bool(words) and not transcribed),
        invented=int(not words and bool(transcribed)),
    )


def differences(expected: str, got: str, language: str) -> list[str]:
    """Return each run of words that differ, as `expected -> got`; a dash stands for no words."""
    words, transcribed = normalized_words(expected, language), normalized_words(got, language)
    lines = []
    for is_equal, steps in groupby(align(words, transcribed), lambda step: step.operation == "equal"):
        if not is_equal:
            run = list(steps)
            before = " ".join(words[step.expected] for step in run if step.expected is not None)
            after = " ".join(transcribed[step.got] for step in run if step.got is not None)
            lines.append(f"{before or '-'} -> {after or '-'}")
    return lines


def time_errors(expected: Sequence[TimedWord], got: Sequence[TimedWord], language: str) -> list[float]:
    """Return how far the starts and ends of the words that are right are from those of the reference, in seconds.

    A word that the normalizer splits, joins or drops is left out.
    """
    sides = []
    for side in (expected, got):
        one_word = [(normalized_words(word.word, language), word) for word in side]
        sides.append([(words[0], word) for words, word in one_word if len(words) == 1])
    reference, transcript = sides
    errors = []
    for step in align([word for word, _ in reference], [word for word, _ in transcript]):
        if step.operation == "equal" and step.expected is not None and step.got is not None:
            right, measured = reference[step.expected][1], transcript[step.got][1]
            errors += [abs(right.start_s - measured.start_s), abs(right.end_s - measured.end_s)]
    return errors


def median_and_90th_percentile(values: Sequence[float]) -> tuple[float, float]:
    """Return both of at least one value."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
