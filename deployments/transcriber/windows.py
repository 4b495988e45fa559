"""Packs the speech of a recording into windows of at most 30 s for Whisper, without the long silences.

A window is a concatenation of chunks of the recording (as in faster-whisper's `collect_chunks`). Times that the model
gives within a window are mapped back to the recording.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.voice_activity import FRAME_SAMPLES, Span, SpeechProbabilities

WINDOW_SAMPLES = 30 * SAMPLE_RATE

_PADDING_SAMPLES = round(0.4 * SAMPLE_RATE)
"""Audio kept before and after speech, as in faster-whisper (`VadOptions.speech_pad_ms`). The detector may miss a soft
first or last sound, and Whisper needs to hear the pauses to place its timestamps."""
_MAX_KEPT_PAUSE_SAMPLES = 2 * SAMPLE_RATE
"""Shorter pauses are kept whole, as in faster-whisper (`min_silence_duration_ms`)."""
_MAX_PAUSE_IN_WINDOW_SAMPLES = WINDOW_SAMPLES
"""A longer pause starts a new window, so that no segment spans it. Recordings with little speech still get at most as
many windows as their length would fill."""
_MAX_UTTERANCE_SAMPLES = WINDOW_SAMPLES - 2 * _PADDING_SAMPLES
_MIN_SPEECH_SAMPLES = SAMPLE_RATE
"""Less speech does not get a window of its own: the model would turn a syllable into a sentence."""
_LITTLE_SPEECH_SAMPLES = 2 * SAMPLE_RATE
"""Windows with less speech have the language of the recording, and their text must be probable to count."""
_MIN_MISSING_SPEECH_SAMPLES = 2 * SAMPLE_RATE
"""Speech for which a window must have no text, so that a part of it is decoded once more."""
_MIN_PAUSE_BEFORE_MISSED_SAMPLES = round(0.3 * SAMPLE_RATE)
_MIN_MISSED_SAMPLES = round(0.2 * SAMPLE_RATE)
"""What is said after a pause and after the end of the text is decoded once more if it takes so long: a spoken digit
does."""
_MIN_PAUSE_OF_HALVES_SAMPLES = round(0.3 * SAMPLE_RATE)
"""The language is taken to change at such pauses only."""
_MIN_SPEECH_OF_HALF_SAMPLES = 2 * SAMPLE_RATE
"""The least speech from which a language is detected."""
_DETECTOR_ERROR_S = 0.15
"""Usual error of the start and end of speech (9 in 10 are within 0.14 s for espeak-ng sentences in silence)."""
_MIN_OVERLAP_SAMPLES = round(0.3 * SAMPLE_RATE)
"""A smaller overlap of text and speech is taken for an inexact timestamp."""


@dataclass(frozen=True)
class Chunk:
    """A contiguous part of the recording in a window."""

    span: Span
    """The part of the recording, including the padding around its speech."""
    utterances: Sequence[Span]
    """Its speech, as spans of the recording."""

    @property
    def speech(self) -> Span:
        """From the start of the first utterance to the end of the last."""
        return Span(self.utterances[0].start, self.utterances[-1].end)


class Window:
    """Chunks of a recording, concatenated. Times in a window are seconds from its start."""

    def __init__(self, chunks: Sequence[Chunk], *, is_second_look: bool = False) -> None:
        self._chunks = chunks
        self.is_second_look = is_second_look
        """Whether it is a part of another window, in whose text its speech is missing."""
        self._offsets = list(accumulate((chunk.span.end - chunk.span.start for chunk in chunks), initial=0))
        """Where each chunk starts in the window, in samples, and at the end the window's length."""

    @property
    def start(self) -> int:
        """Position of the first sample in the recording."""
        return self._chunks[0].span.start

    @property
    def num_samples(self) -> int:
        return self._offsets[-1]

    @property
    def speech(self) -> list[Span]:
        """Its utterances, as spans of the recording."""
        return [utterance for chunk in self._chunks for utterance in chunk.utterances]

    @property
    def num_speech_samples(self) -> int:
        """The length of its speech, without pauses."""
        return _num_samples(self.speech)

    @property
    def has_little_speech(self) -> bool:
        """Whether it has too little speech to be sure of its text or language."""
        return self.num_speech_samples < _LITTLE_SPEECH_SAMPLES

    def mean_probability(self, probabilities: SpeechProbabilities) -> float:
        """Return the mean of the recording's speech probabilities in the window's speech."""
        frames = [
            probabilities[utterance.start // FRAME_SAMPLES : -(-utterance.end // FRAME_SAMPLES)]
            for utterance in self.speech
        ]
        return float(np.concatenate(frames).mean())

    @property
    def spans(self) -> list[Span]:
        """The parts of the recording of which the window consists."""
        return [chunk.span for chunk in self._chunks]

    def extract(self, recording: Waveform, gain: float = 1.0) -> Waveform:
        """Return the window's audio times `gain`, shape (num_samples,)."""
        audio: Waveform = np.concatenate([recording[span.start : span.end] for span in self.spans])
        return audio * np.float32(gain)

    def remainder_after(self, num_samples: int) -> "Window | None":
        """Return the window without its first `num_samples` samples, or None if hardly any speech is left."""
        index = self._chunk_index_at(num_samples / SAMPLE_RATE)
        position = self._chunks[index].span.start + num_samples - self._offsets[index]
        # Whisper's timestamps are inexact: they often leave the very end of a transcribed utterance behind.
        remaining = [
            Span(max(utterance.start, position), utterance.end)
            for chunk in self._chunks
            for utterance in chunk.utterances
            if utterance.start >= position or utterance.end - position >= _MIN_OVERLAP_SAMPLES
        ]
        if _num_samples(remaining) < _MIN_SPEECH_SAMPLES:
            return None
        return Window(_make_chunks(remaining, earliest=position, latest=self._chunks[-1].span.end))

    def chunks_after(self, time_s: float) -> "Window | None":
        """Return a window of the chunks that a transcript ending at `time_s` (in this window) does not reach.

        None if it reaches all chunks.
        """
        last = self.chunk_range(0, time_s)[1]
        return Window(self._chunks[last + 1 :]) if last + 1 < len(self._chunks) else None

    def missed_after(self, time_s: float) -> "Window | None":
        """Return the utterances that a transcript ending at `time_s` does not reach, in the last chunk that it reaches.

        None if there are none, or if they are too short. Only those after a pause count: the end is inexact.
        """
        last = self.chunk_range(0, time_s)[1]
        chunk = self._chunks[last]
        position = chunk.span.start + round(time_s * SAMPLE_RATE) - self._offsets[last]
        missed = next(
            (
                chunk.utterances[i:]
                for i in range(1, len(chunk.utterances))
                if chunk.utterances[i].start >= position
                and chunk.utterances[i].start - chunk.utterances[i - 1].end >= _MIN_PAUSE_BEFORE_MISSED_SAMPLES
            ),
            [],
        )
        if _num_samples(missed) < _MIN_MISSED_SAMPLES:
            return None
        return Window(_make_chunks(missed, earliest=position, latest=chunk.span.end), is_second_look=True)

    def second_look(self, start_s: float, end_s: float) -> "Window | None":
        """Return the part of the window from `start_s` to `end_s`, or None if it has too little speech.

        It has text missing from the window's transcript, unless that is right in having none.
        """
        parts = []
        for chunk, offset in zip(self._chunks, self._offsets, strict=False):
            first = max(round(start_s * SAMPLE_RATE) - offset + chunk.span.start, chunk.span.start)
            last = min(round(end_s * SAMPLE_RATE) - offset + chunk.span.start, chunk.span.end)
            utterances = [
                Span(max(utterance.start, first), min(utterance.end, last))
                for utterance in chunk.utterances
                if min(utterance.end, last) - max(utterance.start, first) >= _MIN_OVERLAP_SAMPLES
            ]
            if utterances:
                parts += _make_chunks(utterances, earliest=first, latest=last)
        missing = Window(parts, is_second_look=True)
        return missing if missing.num_speech_samples >= _MIN_MISSING_SPEECH_SAMPLES else None

    def halves(self) -> list["Window"]:
        """Return the window divided at that pause which is nearest to the middle of its speech.

        If it has no pause that leaves enough speech on both sides, it is returned alone.
        """
        utterances = self.speech
        lengths = list(accumulate(utterance.end - utterance.start for utterance in utterances))
        cuts = [
            i
            for i in range(1, len(utterances))
            if utterances[i].start - utterances[i - 1].end >= _MIN_PAUSE_OF_HALVES_SAMPLES
            and min(lengths[i - 1], lengths[-1] - lengths[i - 1]) >= _MIN_SPEECH_OF_HALF_SAMPLES
        ]
        if not cuts:
            return [self]
        cut = min(cuts, key=lambda i: abs(lengths[-1] - 2 * lengths[i - 1]))
        first = _make_chunks(utterances[:cut], self.start, utterances[cut].start)
        return [
            Window(first),
            Window(_make_chunks(utterances[cut:], utterances[cut - 1].end, self._chunks[-1].span.end)),
        ]

    @staticmethod
    def joined(windows: Sequence["Window"]) -> "Window":
        """Return one window for parts that follow one another."""
        utterances = [utterance for window in windows for utterance in window.speech]
        return Window(_make_chunks(utterances, windows[0].start, windows[-1]._chunks[-1].span.end))

    def chunk_range(self, start_s: float, end_s: float) -> tuple[int, int]:
        """Return the indices of the first and last chunk to which text from `start_s` to `end_s` belongs.

        Whisper often ends a segment where the next one starts. A chunk with only a small overlap therefore does not
        count, or a segment would seem to span the silence between two chunks.
        """
        indices = [
            i for i in range(len(self._chunks)) if self._speech_overlap_s(i, start_s, end_s) >= self._min_overlap_s(i)
        ] or [self.chunk_index(start_s, end_s)]
        return indices[0], indices[-1]

    def chunk_index(self, start_s: float, end_s: float) -> int:
        """Return the index of the chunk whose speech overlaps most with `start_s` to `end_s`."""
        overlaps = [self._speech_overlap_s(i, start_s, end_s) for i in range(len(self._chunks))]
        if max(overlaps) > 0:
            return int(np.argmax(overlaps))
        return self._chunk_index_at((start_s + end_s) / 2)

    def times_in_recording(self, start_s: float, end_s: float, first: int, last: int) -> tuple[float, float]:
        """Map the start and end of a text to seconds in the recording.

        `first` and `last` are the indices of its first and last chunk. The result is clipped to the speech in these
        chunks, with a tolerance for the detector's error.
        """
        start, end = self._time_in_recording(start_s, first), self._time_in_recording(end_s, last)
        clipped_start = max(start, self._chunks[first].speech.start / SAMPLE_RATE - _DETECTOR_ERROR_S)
        clipped_end = min(end, self._chunks[last].speech.end / SAMPLE_RATE + _DETECTOR_ERROR_S)
        return (clipped_start, clipped_end) if clipped_start < clipped_end else (start, max(start, end))

    def _time_in_recording(self, time_s: float, index: int) -> float:
        span = self._chunks[index].span
        time_s += (span.start - self._offsets[index]) / SAMPLE_RATE
        return min(max(time_s, span.start / SAMPLE_RATE), span.end / SAMPLE_RATE)

    def _chunk_index_at(self, time_s: float) -> int:
        return min(max(bisect_right(self._offsets, time_s * SAMPLE_RATE) - 1, 0), len(self._chunks) - 1)

    def _speech_overlap_s(self, index: int, start_s: float, end_s: float) -> float:
        span, speech = self._chunks[index].span, self._chunks[index].speech
        offset = self._offsets[index] - span.start
        first = max((speech.start + offset) / SAMPLE_RATE, start_s)
        last = min((speech.end + offset) / SAMPLE_RATE, end_s)
        return max(last - first, 0.0)

    def _min_overlap_s(self, index: int) -> float:
        speech = self._chunks[index].speech
        return min(_MIN_OVERLAP_SAMPLES, (speech.end - speech.start) // 2) / SAMPLE_RATE


def _num_samples(spans: Sequence[Span]) -> int:
    return sum(span.end - span.start for span in spans)


def pack_into_windows(spans: Sequence[Span], probabilities: SpeechProbabilities, num_samples: int) -> list[Window]:
    """Return windows that together hold all spans of speech of a recording of `num_samples` samples, in order.

    Windows are filled up, but each ends at the longest pause in its second half. A span that does not fit into one
    window is split at its lowest speech probability.
    """
    utterances = [part for span in spans for part in _split(span, probabilities)]
    windows = []
    first = 0
    while first < len(utterances):
        end = _end_of_window(utterances, first)
        earliest = utterances[first - 1].end if first else 0
        latest = utterances[end].start if end < len(utterances) else num_samples
        windows.append(Window(_make_chunks(utterances[first:end], earliest, latest)))
        first = end
    return windows


def _split(span: Span, probabilities: SpeechProbabilities) -> list[Span]:
    """Return parts of at most _MAX_UTTERANCE_SAMPLES."""
    parts = []
    start = span.start
    while span.end - start > _MAX_UTTERANCE_SAMPLES:
        first = (start + _MAX_UTTERANCE_SAMPLES // 2) // FRAME_SAMPLES
        last = min(start + _MAX_UTTERANCE_SAMPLES, span.end - _MIN_SPEECH_SAMPLES) // FRAME_SAMPLES
        quietest = first + int(np.argmin(probabilities[first:last]))
        cut = quietest * FRAME_SAMPLES + FRAME_SAMPLES // 2
        parts.append(Span(start, cut))
        start = cut
    return [*parts, Span(start, span.end)]


def _end_of_window(utterances: Sequence[Span], first: int) -> int:
    """Return the index after the last utterance of the window that starts with utterance `first`."""
    length = utterances[first].end - utterances[first].start + 2 * _PADDING_SAMPLES
    longest_pause, best_end = 0, first + 1
    for i in range(first + 1, len(utterances)):
        pause = utterances[i].start - utterances[i - 1].end
        if pause >= _MAX_PAUSE_IN_WINDOW_SAMPLES:
            return i
        if length >= WINDOW_SAMPLES // 2 and pause >= longest_pause:
            longest_pause, best_end = pause, i
        elif length < WINDOW_SAMPLES // 2:
            best_end = i
        kept_pause = pause if pause <= _MAX_KEPT_PAUSE_SAMPLES else 2 * _PADDING_SAMPLES
        length += kept_pause + utterances[i].end - utterances[i].start
        if length > WINDOW_SAMPLES:
            return best_end
    return len(utterances)


def _make_chunks(utterances: Sequence[Span], earliest: int, latest: int) -> list[Chunk]:
    """Return the chunks of a window with these utterances; no padding goes beyond samples `earliest` to `latest`."""
    groups = [[utterances[0]]]
    for previous, utterance in pairwise(utterances):
        if utterance.start - previous.end <= _MAX_KEPT_PAUSE_SAMPLES:
            groups[-1].append(utterance)
        else:
            groups.append([utterance])
    return [
        Chunk(
            Span(max(group[0].start - _PADDING_SAMPLES, earliest), min(group[-1].end + _PADDING_SAMPLES, latest)), group
        )
        for group in groups
    ]
