"""The segments of a transcript from those of the model, and which of them are final while others are still decoded."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, islice, takewhile
from typing import Any

from deployments.transcriber.types import Decoding, TranscriptSegment, TranscriptWord

SendSegments = Callable[[float, int, list[TranscriptSegment]], None]
"""Takes the seconds of the recording that are done, the number of the first of these segments, and the segments."""


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


def mean_confidence(segments: list[TranscriptSegment]) -> float:
    """Return the mean confidence, weighted by duration; 0.0 without segments."""
    total_s = sum(segment.end_s - segment.start_s for segment in segments)
    weighted = sum(segment.confidence * (segment.end_s - segment.start_s) for segment in segments)
    return weighted / total_s if total_s > 0 else 0.0
