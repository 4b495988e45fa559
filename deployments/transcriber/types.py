"""Requests and results of the transcriber. Ray pickles them on their way between processes."""

from dataclasses import dataclass, field
from typing import Literal

SuspectReason = Literal["repetition", "no_speech", "low_probability"]
"""Why a segment may be a hallucination: the text of its window is repetitive, the window is probably without speech, or
the text has a low log probability even after all fallback temperatures."""


@dataclass(frozen=True)
class TranscribeTask:
    language: str | None = None
    """A Whisper language code, or None to detect it."""
    word_timestamps: bool = False


@dataclass(frozen=True)
class Word:
    word: str
    """Includes the space before it, so that the joined words are the text."""
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    start_s: float
    end_s: float
    text: str
    confidence: float
    """exp(avg_logprob): the geometric mean of the token probabilities of its window."""
    words: list[Word] = field(default_factory=list)
    suspect: SuspectReason | None = None


@dataclass(frozen=True)
class Transcript:
    text: str
    language: str
    """Code of the requested or detected language; "und" if none was requested and nobody speaks."""
    confidence: float
    """Mean of the segments' confidence, weighted by duration; 0.0 without segments."""
    segments: list[Segment]
    duration_s: float
    warnings: list[str] = field(default_factory=list)
    """Sentences for the client about audio that is missing because the file is cut off or damaged."""
