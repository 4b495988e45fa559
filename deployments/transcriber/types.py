"""Requests and results of the transcriber. Ray pickles them on their way between processes."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

SuspectReason = Literal["repetition", "no_speech", "low_probability"]
"""Why a segment may be a hallucination: the text of its window is repetitive, the window is probably without speech, or
the text has a low log probability even after all fallback temperatures."""


UNDETERMINED = "und"
"""ISO 639-2 for a language that is not known."""


@dataclass(frozen=True)
class TranscribeTask:
    language: str | None = None
    """A Whisper language code, or None to detect it."""
    word_timestamps: bool = False
    translate: bool = False
    """Whether the text is English, whatever is spoken."""
    prompt: str = ""
    """A text as if said before the recording, whose spelling and style the transcript follows."""
    track: int | None = None
    """The number of the sound track, from 1 in the file's order, or None for the first default one."""
    speakers: bool = False
    """Whether to tell apart who speaks; needs `word_timestamps`."""
    num_speakers: int | None = None
    """How many there are, or None to find that out."""


@dataclass(frozen=True)
class TranscriptWord:
    word: str
    """Includes the space before it, so that the joined words are the text."""
    start_s: float
    end_s: float
    confidence: float
    speaker: str | None = None
    """"S1" for who speaks first, "S2" for who speaks next, and so on; None if that was not asked for."""

    def later(self, seconds: float) -> Self:
        return replace(self, start_s=self.start_s + seconds, end_s=self.end_s + seconds)


@dataclass(frozen=True)
class Decoding:
    """How a segment came about, by the names and in the units of `whisper.transcribe`."""

    seek: int
    """Where the segment's window starts in the recording, in frames of 10 ms."""
    tokens: list[int]
    """Of the segment, with its timestamps."""
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    """These four are those of the whole window."""


@dataclass(frozen=True)
class TranscriptSegment:
    start_s: float
    end_s: float
    text: str
    confidence: float
    """exp(avg_logprob): the geometric mean of the token probabilities of its window."""
    words: list[TranscriptWord] = field(default_factory=list)
    suspect: SuspectReason | None = None
    speaker: str | None = None
    """As of the words, which all have the same."""
    language: str = UNDETERMINED
    """Code of the language that was detected where it is said, or of the requested one. It is that of the speech, not
    of a translation."""
    decoding: Decoding | None = None

    def later(self, seconds: float) -> Self:
        return replace(
            self,
            start_s=self.start_s + seconds,
            end_s=self.end_s + seconds,
            words=[word.later(seconds) for word in self.words],
        )


@dataclass(frozen=True)
class AudioTrack:
    """One of the sound tracks of a file, as the file describes it."""

    number: int
    """From 1, in the file's order."""
    language: str
    """Mostly a code of ISO 639-2, such as "eng"; empty if the file names none."""
    title: str
    """Empty if the file names none."""
    codec: str
    """libav's name, such as "aac"; empty if it has no decoder."""
    num_channels: int
    is_default: bool


TranscriptStage = Literal["decode", "transcribe", "speakers"]


@dataclass(frozen=True)
class TranscriptProgress:
    """How far a transcript is."""

    stage: TranscriptStage
    fraction: float | None
    """Of the stage; None if it cannot be measured."""
    duration_s: float | None = None
    """When the sound ends; None until the file is decoded."""
    first_segment: int = 0
    segments: list[TranscriptSegment] = field(default_factory=list)
    """Those that have become final: the transcript's own from number `first_segment` on."""


@dataclass(frozen=True)
class Transcript:
    text: str
    language: str
    """Code of the requested language, or of that in which most is said, whatever language the text is in; UNDETERMINED
    if none was requested and nobody speaks."""
    confidence: float
    """Mean of the segments' confidence, weighted by duration; 0.0 without segments."""
    segments: list[TranscriptSegment]
    duration_s: float
    """When the sound ends."""
    warnings: list[str] = field(default_factory=list)
    """Sentences for the client about audio that is missing because the file is cut off or damaged."""
    tracks: list[AudioTrack] = field(default_factory=list)
    """Of the file."""
    track: int | None = None
    """The number of the transcribed one."""

    @classmethod
    def empty(cls, language: str | None, duration_s: float) -> Self:
        """Return the transcript of audio in which nobody speaks; `language` is the requested one."""
        return cls("", language or UNDETERMINED, 0.0, [], duration_s)

    def later(self, seconds: float) -> Self:
        """Return the transcript of the same sound if it starts so much later."""
        return replace(
            self,
            segments=[segment.later(seconds) for segment in self.segments],
            duration_s=self.duration_s + seconds,
        )
