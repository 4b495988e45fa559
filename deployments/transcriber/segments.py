"""The segments of a transcript from those of the model, and which of them are final while others are still decoded."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, islice, pairwise, takewhile
from typing import Any

from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.types import Decoding, TranscriptSegment, TranscriptWord
from deployments.transcriber.voice_activity import Span

SendSegments = Callable[[float, int, list[TranscriptSegment]], None]
"""Takes the seconds of the recording that are done, the number of the first of these segments, and the segments."""

_MIN_PAUSE_S = 0.3
"""A segment within a sentence may end at a pause of this length; Whisper also ends some where nobody pauses."""
_MAX_JOINED_S = 15.0
"""The longest segment that is joined of several, before its end is moved."""
_MAX_EARLY_S = 1.0
"""Whisper's end of a segment is up to so much too early. If speech goes on for longer, text is missing."""
_SENTENCE_END = re.compile(r"[.?!…。？！؟।۔։።။។][\"'”’“‘»«)\]}」』]*\s*$")


class FinalSegments:
    """Sends segments as soon as they are final, each once and in order."""

    def __init__(self, send: SendSegments, *, with_words: bool) -> None:
        self._send = send
        self._with_words = with_words
        self._num_sent = 0

    def update(self, segments: Sequence[dict[str, Any]], until_s: float) -> None:
        """Send what is final, given the model's segments so far and that all further ones start at `until_s` or later.

        A segment is final if it ends before that: only what overlaps it could still change its times (`in_order`).
        """
        ordered = in_order([as_segment(segment) for segment in sorted(segments, key=lambda one: one["start"])])
        final = list(takewhile(lambda segment: segment.end_s <= until_s, ordered))[self._num_sent :]
        if not self._with_words:
            final = [replace(segment, words=[]) for segment in final]
        self._send(until_s, self._num_sent, final)
        self._num_sent += len(final)


def as_segment(segment: dict[str, Any]) -> TranscriptSegment:
    return TranscriptSegment(
        start_s=float(segment["start"]),
        end_s=float(segment["end"]),
        text=segment["text"].strip(),
        confidence=math.exp(segment["avg_logprob"]),
        words=[
            TranscriptWord(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
            for word in segment.get("words", [])
        ],
        suspect=segment["suspect"],
        language=segment["language"],
        decoding=Decoding(
            seek=segment["seek"],
            tokens=segment["tokens"],
            temperature=segment["temperature"],
            avg_logprob=segment["avg_logprob"],
            compression_ratio=segment["compression_ratio"],
            no_speech_prob=segment["no_speech_prob"],
        ),
    )


def in_order(segments: list[TranscriptSegment]) -> list[TranscriptSegment]:
    """Return the segments, with words that follow one another and lie within their segments.

    The times of words and segments come from different sources: attention and timestamp tokens, each clipped to the
    speech by itself. Those of words are more exact, so a segment grows to hold its words. `segments` ascend by start.
    """
    words = [word for segment in segments for word in segment.words]
    starts = list(accumulate((word.start_s for word in words), max))
    ends = [max(start, word.end_s) for start, word in zip(starts, words, strict=True)]
    limits = [*starts[1:], math.inf]
    ordered = iter(
        replace(word, start_s=start, end_s=min(end, limit))
        for word, start, end, limit in zip(words, starts, ends, limits, strict=True)
    )
    return [_around(segment, list(islice(ordered, len(segment.words)))) for segment in segments]


def _around(segment: TranscriptSegment, words: list[TranscriptWord]) -> TranscriptSegment:
    """Return the segment with these words, and with times that include theirs."""
    if not words:
        return segment
    return replace(
        segment,
        start_s=min(segment.start_s, words[0].start_s),
        end_s=max(segment.end_s, words[-1].end_s),
        words=words,
    )


def end_at_pauses(
    segments: Sequence[dict[str, Any]], speech: Sequence[Span], untranscribed_s: Sequence[float]
) -> list[dict[str, Any]]:
    """Return a window's segments so that they end where the speech does.

    Segments that follow one another within a sentence and without a pause become one, and a segment whose end is a
    little early lasts until its speech ends. `segments` have words and, as all of these, times of the recording;
    `speech` is the window's, and `untranscribed_s` is where its speech starts that is not in the segments.
    """
    joined: list[dict[str, Any]] = []
    for segment in segments:
        if joined and _goes_on(joined[-1], segment, speech, untranscribed_s):
            before = joined[-1]
            joined[-1] = {**before, "end": segment["end"]}
            joined[-1].update((key, before[key] + segment[key]) for key in ("text", "tokens", "words"))
        else:
            joined.append(segment)
    starts_s = [min([one["start"], *(word["start"] for word in one["words"][:1])]) for one in joined]
    starts_s += untranscribed_s
    return [_until_speech_ends(segment, speech, starts_s) for segment in joined]


def _goes_on(
    before: dict[str, Any], after: dict[str, Any], speech: Sequence[Span], untranscribed_s: Sequence[float]
) -> bool:
    """Return whether the second of two segments goes on with a sentence of the first, without a pause."""
    if not before["words"] or not after["words"] or _SENTENCE_END.search(before["text"]):
        return False
    if after["start"] - before["end"] >= _MIN_PAUSE_S or after["end"] - before["start"] > _MAX_JOINED_S:
        return False
    if any(before["start"] < start_s < after["end"] for start_s in untranscribed_s):
        return False
    first, last = _utterance_of(before["words"][-1], speech), _utterance_of(after["words"][0], speech)
    return all(_is_short_pause(one, two) for one, two in pairwise(speech[first : last + 1]))


def _until_speech_ends(segment: dict[str, Any], speech: Sequence[Span], starts_s: Sequence[float]) -> dict[str, Any]:
    """Return a segment with the end of its speech, if that is a little later; another text starts at `starts_s`."""
    if not segment["words"]:
        return segment
    latest_s = min((start_s for start_s in starts_s if start_s > segment["start"]), default=math.inf)
    latest_s = min(latest_s, segment["end"] + _MAX_EARLY_S)
    end_s = segment["end"]
    index = _utterance_of(segment["words"][-1], speech)
    for utterance, following in pairwise([*speech[index:], None]):
        assert utterance is not None
        if utterance.end / SAMPLE_RATE <= latest_s:
            end_s = max(end_s, utterance.end / SAMPLE_RATE)
        if following is None or not _is_short_pause(utterance, following):
            break
    return {**segment, "end": end_s}


def _utterance_of(word: dict[str, Any], speech: Sequence[Span]) -> int:
    """Return the number of the utterance in which the middle of a word is, or else of the next or the last one."""
    middle = (word["start"] + word["end"]) / 2 * SAMPLE_RATE
    return next((i for i, utterance in enumerate(speech) if utterance.end > middle), len(speech) - 1)


def _is_short_pause(before: Span, after: Span) -> bool:
    return after.start - before.end < _MIN_PAUSE_S * SAMPLE_RATE


def mean_confidence(segments: list[TranscriptSegment]) -> float:
    """Return the mean confidence, weighted by duration; 0.0 without segments."""
    total_s = sum(segment.end_s - segment.start_s for segment in segments)
    weighted = sum(segment.confidence * (segment.end_s - segment.start_s) for segment in segments)
    return weighted / total_s if total_s > 0 else 0.0
