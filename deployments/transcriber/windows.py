"""What the model is given of a recording: windows of at most 30 s in which somebody speaks, without long silences.

A window is cut out of the recording in pieces and glued together; what is heard in it is put back to where it was said.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.speech import FRAME_SAMPLES, Probabilities, Span

WINDOW_SAMPLES = 30 * SAMPLE_RATE

_MARGIN = round(0.4 * SAMPLE_RATE)
"""Kept of the silence before and after speech, as in faster-whisper (`VadOptions.speech_pad_ms`): the detector may miss
a soft first or last sound, and Whisper sets timestamps by pauses that it hears."""
_LONGEST_PAUSE = 2 * SAMPLE_RATE
"""Pauses up to this stay as they are, also as in faster-whisper (`min_silence_duration_ms`)."""
_LONGEST_IN_WINDOW = WINDOW_SAMPLES
"""After a longer silence a new window begins: no segment can then reach over it. Sparse speech takes no more windows
than the recording has."""
_LONGEST_SPAN = WINDOW_SAMPLES - 2 * _MARGIN
_SHORTEST_REST = SAMPLE_RATE
"""Less speech is not given to the model by itself: it would make a sentence of a syllable."""
_NEAR_S = 0.15
"""The detector tells the ends of speech so well (espeak-ng in silence: 9 of 10 within 0.14 s)."""
_REACHES = round(0.3 * SAMPLE_RATE)
"""What reaches so little into speech is taken to end before it, or to begin after it."""


@dataclass(frozen=True)
class Piece:
    """What a window has of a recording without a gap."""

    kept: Span
    utterances: Sequence[Span]

    @property
    def speech(self) -> Span:
        """From the first to the last moment of speech in it."""
        return Span(self.utterances[0].start, self.utterances[-1].end)


class Window:
    """Pieces of a recording one after another. Times in it are seconds from its beginning."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._starts = list(accumulate((piece.kept.end - piece.kept.start for piece in pieces), initial=0))
        """Where each piece begins in the window, in samples, and where the last one ends."""

    @property
    def start(self) -> int:
        """The first sample's place in the recording."""
        return self._pieces[0].kept.start

    @property
    def num_samples(self) -> int:
        return self._starts[-1]

    @property
    def spans(self) -> list[Span]:
        """What it holds of the recording."""
        return [piece.kept for piece in self._pieces]

    def sound(self, waveform: Waveform) -> Waveform:
        return np.concatenate([waveform[span.start : span.end] for span in self.spans])

    def after(self, num_samples: int) -> "Window | None":
        """Return what follows the first samples as a window of its own; None if it has hardly any speech."""
        piece = self._piece_at(num_samples / SAMPLE_RATE)
        moment = self._pieces[piece].kept.start + num_samples - self._starts[piece]
        # Whisper's timestamps are not so exact that the last moment of an utterance would be left.
        left = [
            Span(max(utterance.start, moment), utterance.end)
            for piece in self._pieces
            for utterance in piece.utterances
            if utterance.start >= moment or utterance.end - moment >= _REACHES
        ]
        if sum(utterance.end - utterance.start for utterance in left) < _SHORTEST_REST:
            return None
        return Window(_pieces(left, before=moment, after=self._pieces[-1].kept.end))

    def pieces_after(self, time_s: float) -> "Window | None":
        """Return the pieces that nothing was heard of up to `time_s` as a window of its own; None if there are none."""
        last = self.pieces_of(0, time_s)[1]
        return Window(self._pieces[last + 1 :]) if last + 1 < len(self._pieces) else None

    def pieces_of(self, start_s: float, end_s: float) -> tuple[int, int]:
        """Return the first and the last piece that has much of what was heard from `start_s` to `end_s`.

        Whisper's segments often end where the next begin: that must not carry them over a silence.
        """
        pieces = [
            i for i in range(len(self._pieces)) if self._shared_speech_s(i, start_s, end_s) >= self._least_share_s(i)
        ] or [self.piece_of(start_s, end_s)]
        return pieces[0], pieces[-1]

    def piece_of(self, start_s: float, end_s: float) -> int:
        """Return the piece that has most of what was heard from `start_s` to `end_s`."""
        shares = [self._shared_speech_s(i, start_s, end_s) for i in range(len(self._pieces))]
        if max(shares) > 0:
            return int(np.argmax(shares))
        return self._piece_at((start_s + end_s) / 2)

    def times_in_recording(self, start_s: float, end_s: float, first: int, last: int) -> tuple[float, float]:
        """Return when in the recording that was, given the first and the last piece of it.

        It neither begins before nor ends after the speech in them, but for what the detector may err.
        """
        start, end = self._in_recording(start_s, first), self._in_recording(end_s, last)
        near_start = max(start, self._pieces[first].speech.start / SAMPLE_RATE - _NEAR_S)
        near_end = min(end, self._pieces[last].speech.end / SAMPLE_RATE + _NEAR_S)
        return (near_start, near_end) if near_start < near_end else (start, max(start, end))

    def _in_recording(self, time_s: float, piece: int) -> float:
        kept = self._pieces[piece].kept
        time_s += (kept.start - self._starts[piece]) / SAMPLE_RATE
        return min(max(time_s, kept.start / SAMPLE_RATE), kept.end / SAMPLE_RATE)

    def _piece_at(self, time_s: float) -> int:
        return min(max(bisect_right(self._starts, time_s * SAMPLE_RATE) - 1, 0), len(self._pieces) - 1)

    def _shared_speech_s(self, piece: int, start_s: float, end_s: float) -> float:
        kept, speech = self._pieces[piece].kept, self._pieces[piece].speech
        offset = self._starts[piece] - kept.start
        first, last = (
            max((speech.start + offset) / SAMPLE_RATE, start_s),
            min((speech.end + offset) / SAMPLE_RATE, end_s),
        )
        return max(last - first, 0.0)

    def _least_share_s(self, piece: int) -> float:
        speech = self._pieces[piece].speech
        return min(_REACHES, (speech.end - speech.start) // 2) / SAMPLE_RATE


def gather(spans: Sequence[Span], probabilities: Probabilities, num_samples: int) -> list[Window]:
    """Return the windows that hold all spans of speech of a recording, in order.

    A window ends at the longest pause in its second half where it could be longer. A span that is too long for a window
    is cut where the detector was least sure.
    """
    utterances = [part for span in spans for part in _cut(span, probabilities)]
    windows = []
    first = 0
    while first < len(utterances):
        end = _end_of_window(utterances, first)
        before = utterances[first - 1].end if first else 0
        after = utterances[end].start if end < len(utterances) else num_samples
        windows.append(Window(_pieces(utterances[first:end], before, after)))
        first = end
    return windows


def _cut(span: Span, probabilities: Probabilities) -> list[Span]:
    parts = []
    start = span.start
    while span.end - start > _LONGEST_SPAN:
        earliest = (start + _LONGEST_SPAN // 2) // FRAME_SAMPLES
        latest = min(start + _LONGEST_SPAN, span.end - _SHORTEST_REST) // FRAME_SAMPLES
        least = earliest + int(np.argmin(probabilities[earliest:latest]))
        cut = least * FRAME_SAMPLES + FRAME_SAMPLES // 2
        parts.append(Span(start, cut))
        start = cut
    return [*parts, Span(start, span.end)]


def _end_of_window(utterances: Sequence[Span], first: int) -> int:
    """Return the first utterance after the window that begins with utterance `first`."""
    length = utterances[first].end - utterances[first].start + 2 * _MARGIN
    longest_pause, best = 0, first + 1
    for i in range(first + 1, len(utterances)):
        pause = utterances[i].start - utterances[i - 1].end
        if pause >= _LONGEST_IN_WINDOW:
            return i
        if length >= WINDOW_SAMPLES // 2 and pause >= longest_pause:
            longest_pause, best = pause, i
        elif length < WINDOW_SAMPLES // 2:
            best = i
        kept = pause if pause <= _LONGEST_PAUSE else 2 * _MARGIN
        length += kept + utterances[i].end - utterances[i].start
        if length > WINDOW_SAMPLES:
            return best
    return len(utterances)


def _pieces(utterances: Sequence[Span], before: int, after: int) -> list[Piece]:
    """Return the pieces that hold these utterances of one window, of which none reaches beyond `before` or `after`."""
    groups = [[utterances[0]]]
    for earlier, later in pairwise(utterances):
        if later.start - earlier.end <= _LONGEST_PAUSE:
            groups[-1].append(later)
        else:
            groups.append([later])
    pieces = []
    for group in groups:
        kept = Span(max(group[0].start - _MARGIN, before), min(group[-1].end + _MARGIN, after))
        pieces.append(Piece(kept, group))
    return pieces
