"""Gives words and segments of a transcript to speakers, and divides segments where the speaker changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from deployments.transcriber.types import Transcript, TranscriptSegment, TranscriptWord

_MAX_STRAY_S = 0.4
"""A single word of another speaker that is no longer than this is taken for an inexact time..."""
_MIN_PAUSE_S = 0.2
"""...unless pauses of this length are on both sides."""


@dataclass(frozen=True)
class Turn:
    """A time in which one of the speakers, numbered from 0, speaks."""

    start_s: float
    end_s: float
    speaker: int


def label_transcript(transcript: Transcript, turns: Sequence[Turn]) -> Transcript:
    """Return the transcript with a speaker for each word and segment, and with one speaker in each segment.

    A word belongs to who speaks most of its time, or if nobody does, to who speaks next to it. `turns` ascend and do
    not overlap; without any, all is said by one speaker. The text is unchanged.
    """
    parts: list[TranscriptSegment | TranscriptWord] = []
    for segment in transcript.segments:
        parts += segment.words or [segment]
    finder = _SpeakerFinder(turns)
    speakers = _without_strays(parts, [finder.speaker(part.start_s, part.end_s) for part in parts])
    names: dict[int, str] = {}
    labels = iter([names.setdefault(speaker, f"S{len(names) + 1}") for speaker in speakers])
    segments: list[TranscriptSegment] = []
    for segment in transcript.segments:
        if segment.words:
            segments += _divide(segment, [replace(word, speaker=next(labels)) for word in segment.words])
        else:
            segments.append(replace(segment, speaker=next(labels)))
    return replace(transcript, segments=segments)


class _SpeakerFinder:
    """Finds who speaks at times that ascend, or nearly so."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns
        self._first = 0

    def speaker(self, start_s: float, end_s: float) -> int:
        """Return who speaks most from `start_s` to `end_s`, or nearest to it."""
        if not self._turns:
            return 0
        while self._first and self._turns[self._first].start_s > start_s:
            self._first -= 1
        while self._first + 1 < len(self._turns) and self._turns[self._first].end_s <= start_s:
            self._first += 1
        seconds: dict[int, float] = {}
        for turn in self._turns[self._first :]:
            if turn.start_s >= end_s:
                break
            overlap_s = min(turn.end_s, end_s) - max(turn.start_s, start_s)
            if overlap_s > 0:
                seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + overlap_s
        if seconds:
            return max(seconds, key=lambda speaker: seconds[speaker])
        near = self._turns[max(0, self._first - 1) : self._first + 2]
        return min(near, key=lambda turn: max(turn.start_s - end_s, start_s - turn.end_s)).speaker


def _without_strays(parts: Sequence[TranscriptSegment | TranscriptWord], speakers: Sequence[int]) -> list[int]:
    """Return the speakers with those of single short words, within the speech of another one, replaced."""
    smooth = list(speakers)
    for k in range(1, len(parts) - 1):
        before, part, after = parts[k - 1], parts[k], parts[k + 1]
        pauses_s = part.start_s - before.end_s, after.start_s - part.end_s
        is_stray = smooth[k - 1] == speakers[k + 1] != speakers[k] and part.end_s - part.start_s <= _MAX_STRAY_S
        if is_stray and min(pauses_s) < _MIN_PAUSE_S:
            smooth[k] = speakers[k + 1]
    return smooth


def _divide(segment: TranscriptSegment, words: Sequence[TranscriptWord]) -> Iterator[TranscriptSegment]:
    """Yield the parts of a segment in which one speaker says all words."""
    parts = [list(part) for _, part in groupby(words, key=lambda word: word.speaker)]
    if len(parts) == 1:
        yield replace(segment, words=parts[0], speaker=parts[0][0].speaker)
        return
    for number, part in enumerate(parts):
        yield replace(
            segment,
            start_s=part[0].start_s if number else segment.start_s,
            end_s=part[-1].end_s if number + 1 < len(parts) else segment.end_s,
            text="".join(word.word for word in part).strip(),
            words=part,
            speaker=part[0].speaker,
        )
