"""What the transcriber is asked and what it answers; these values cross process borders."""

from dataclasses import dataclass, field
from typing import Literal

SuspectReason = Literal["repetition", "no_speech", "low_probability"]
"""Why a segment may be invented: its window's text repeats itself, the model heard nobody speak in it, or it found none
of its texts probable."""


@dataclass(frozen=True)
class TranscribeTask:
    language: str | None = None
    """A Whisper language code, or None to detect it."""
    word_timestamps: bool = False


@dataclass(frozen=True)
class Word:
    word: str
    """With the space before it, where its language has one: joined, the words are the text."""
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    start_s: float
    end_s: float
    text: str
    confidence: float
    """exp(avg_logprob), the geometric mean of its tokens' probabilities."""
    words: list[Word] = field(default_factory=list)
    suspect: SuspectReason | None = None


@dataclass(frozen=True)
class Transcript:
    text: str
    language: str
    """The code spoken or asked for; "und" where nobody speaks and none was asked for."""
    confidence: float
    """The duration-weighted mean of the segments' confidence; 0.0 without segments."""
    segments: list[Segment]
    duration_s: float
    warnings: list[str] = field(default_factory=list)
    """What of the file was not transcribed because it is cut off or damaged, each a sentence for the client."""
