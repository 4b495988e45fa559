"""Subtitles of a transcript (SRT and WebVTT), and spoken descriptions of a video (WebVTT of kind `descriptions`)."""

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Self

from deployments.transcriber.types import TranscriptSegment

MAX_COLUMNS = 42
"""Of a line. A letter of Chinese, Japanese or Korean takes two, which makes 21 of them."""
MAX_LINES = 2
MIN_S = 1.0
MAX_S = 7.0
"""How long a cue is on screen. These four are Netflix's guideline for timed text, but for its minimum of 5/6 s."""
MAX_COLUMNS_PER_S = 20.0
"""What an adult reads, by the same guideline: a cue stays longer than it is spoken where there is time."""
LONG_PAUSE_S = 1.0
"""A cue does not go on after so much silence."""
WORD_TIME_ERROR_S = 0.4
"""Whisper's times of words are off by so much at most where a sentence begins after a pause."""
SPOKEN_COLUMNS_PER_S = 15.0
"""About 180 words a minute, the usual rate of speech synthesizers, by which a description's duration is computed."""

_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "؟", "।")
_CLAUSE_ENDS = (",", ";", ":", "–", "—", "、", "，", "；", "：", "،", "؛")
_CLOSING = "\"'”’»)]}」』"

_WORDS_NEAR_CUT = 3
_CUE_COST = 1.0
_WITHIN_CLAUSE_COST = 1.5
"""Of a cue that ends within a clause; the next, of one that ends after a clause, but within a sentence."""
_AFTER_CLAUSE_COST = 0.7
_SENTENCE_WITHIN_COST = 0.6
"""For each sentence that ends within a cue."""
_SHORT_COST = 1.5
"""For each second that a cue is too short."""
_FAST_COST = 0.1
"""For each column a second too many."""
_PAUSE_WITHIN_COST = 1.0
"""For each second of silence within a cue."""
_CLAUSE_END_COLUMNS = 10
"""A line that ends with a clause may be so much longer or shorter than the other."""


@dataclass(frozen=True)
class Cue:
    """What is on screen, or spoken, for a time."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def transcript_cues(segments: Sequence[TranscriptSegment], cuts_s: Sequence[float] = ()) -> list[Cue]:
    """Return the cues of a transcript, in order and without overlap.

    Each has at most MAX_LINES lines of MAX_COLUMNS columns and stays from MIN_S to MAX_S seconds. None goes on after a
    pause of LONG_PAUSE_S, a cut of the picture (`cuts_s`, ascending, in seconds) or a change of the speaker; among the
    ways to do so, cues end with a sentence or a clause, and can be read in their time. A cue is shorter than MIN_S only
    if the next one, or a cut, comes sooner and there is no room before it. Segments without words are divided by their
    number of letters.
    """
    words = list(_in_order(word for segment in segments for word in _words_of(segment)))
    cues = [(shot, cue) for shot, passage in _passages(words, cuts_s) for cue in _Passage(passage).cues()]
    return _with_readable_times(cues, cuts_s)


def description_cues(
    frames: Sequence[tuple[float, str]],
    speech: Sequence[tuple[float, float]],
    end_s: float,
    cuts_s: Sequence[float] = (),
) -> list[Cue]:
    """Return a cue for each description that fits in where nobody speaks, in order and without overlap.

    `frames` are times and descriptions, `speech` the times in which somebody speaks, both ascending. A description is
    spoken within the shot of its frame; where that has several frames, no sooner than halfway to the frame before and
    ending at the latest halfway to the frame after. It takes the first silence that is long enough, otherwise the
    longest, and is left out where that is shorter than MIN_S, or shorter than half of what the description takes.
    """
    silences = _silences(speech, end_s)
    bounds_s = [0.0, *cuts_s, end_s]
    shots = [bisect_right(cuts_s, time_s) for time_s, _ in frames]
    cues: list[Cue] = []
    for index, (time_s, text) in enumerate(frames):
        text = " ".join(text.split())
        if not text:
            continue
        shot = shots[index]
        first_s, last_s = bounds_s[shot : shot + 2]
        if index and shots[index - 1] == shot:
            first_s = (frames[index - 1][0] + time_s) / 2
        if index + 1 < len(frames) and shots[index + 1] == shot:
            last_s = (time_s + frames[index + 1][0]) / 2
        needed_s = max(MIN_S, columns(text) / SPOKEN_COLUMNS_PER_S)
        rooms = [(max(start, first_s), min(end, last_s)) for start, end in silences]
        enough = [(start, end) for start, end in rooms if end - start >= needed_s]
        start, end = enough[0] if enough else max(rooms, key=lambda room: room[1] - room[0], default=(0.0, 0.0))
        if end - start >= max(MIN_S, needed_s / 2):
            cues.append(Cue(start, min(end, start + needed_s), (text,)))
    return cues


def to_srt(cues: Iterable[Cue]) -> str:
    """Return the text of an SRT file (SubRip), with times such as 00:01:02,500."""
    return "".join(
        f"{number}\n{_time(cue.start_s, ',')} --> {_time(cue.end_s, ',')}\n{_srt_text(cue)}\n\n"
        for number, cue in enumerate(cues, 1)
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    """Return the text of a WebVTT file (W3C), with times such as 00:01:02.500."""
    return "WEBVTT\n\n" + "".join(
        f"{_time(cue.start_s, '.')} --> {_time(cue.end_s, '.')}\n{_vtt_text(cue)}\n\n" for cue in cues
    )


def columns(text: str) -> int:
    """Return the width of a text: 2 for a wide letter such as a Chinese one, 0 for an accent, 1 for others."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


@dataclass(frozen=True)
class _Word:
    text: str
    """Without white space."""
    is_spaced: bool
    """Whether white space is before it; Chinese and Japanese have none."""
    start_s: float
    end_s: float
    speaker: str | None

    @property
    def ends_sentence(self) -> bool:
        return self.text.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)

    def starts_later(self, earliest_s: float) -> Self:
        start_s = max(self.start_s, earliest_s)
        return replace(self, start_s=start_s, end_s=max(self.end_s, start_s))


def _words_of(segment: TranscriptSegment) -> Iterator[_Word]:
    """Yield the words of a segment, none wider than a line."""
    words = [
        _Word(one.word.strip(), one.word[:1].isspace(), one.start_s, one.end_s, one.speaker) for one in segment.words
    ]
    if not words:
        parts = [letters for word in segment.text.split() for letters in _split_at_letters(word)]
        words = _divide(_Word(segment.text, True, segment.start_s, segment.end_s, segment.speaker), parts)
    for word in words:
        if word.text:
            yield from _divide(
                word, [(part, word.is_spaced and not k) for k, part in enumerate(_split_wide(word.text))]
            )


def _split_at_letters(word: str) -> list[tuple[str, bool]]:
    """Return a word, or the letters of one in a script without spaces, with whether a space is before it."""
    return [(letter, not k) for k, letter in enumerate(word)] if columns(word) > len(word) else [(word, True)]


def _split_wide(word: str) -> list[str]:
    parts = [""]
    for letter in word:
        if columns(parts[-1] + letter) > MAX_COLUMNS:
            parts.append("")
        parts[-1] += letter
    return parts


def _divide(word: _Word, parts: Sequence[tuple[str, bool]]) -> list[_Word]:
    """Return the parts of a word, each with a share of its time by its width."""
    ends = list(accumulate((columns(part) for part, _ in parts), initial=0))
    times = [word.start_s + (word.end_s - word.start_s) * end / max(1, ends[-1]) for end in ends]
    return [
        _Word(*part, start_s, end_s, word.speaker)
        for part, (start_s, end_s) in zip(parts, pairwise(times), strict=True)
    ]


def _passages(words: Sequence[_Word], cuts_s: Sequence[float]) -> Iterator[tuple[int, list[_Word]]]:
    """Yield the words between long pauses, cuts and changes of the speaker, with the number of their shot, from 0."""
    first_words = list(accumulate((_first_word_after(cut_s, words) for cut_s in cuts_s), max))
    passage: list[_Word] = []
    shot = 0
    for index, word in enumerate(words):
        shot_of_word = bisect_right(first_words, index)
        if passage:
            before = passage[-1]
            is_pause = word.start_s - before.end_s >= LONG_PAUSE_S
            if is_pause or word.speaker != before.speaker or shot_of_word != shot:
                yield shot, passage
                passage = []
        passage.append(word)
        shot = shot_of_word
    if passage:
        yield shot, passage


def _first_word_after(cut_s: float, words: Sequence[_Word]) -> int:
    """Return the number of the first word that belongs after a cut of the picture.

    It is the one that begins a sentence next to the cut, if there is one: a word's times are off by some tenths of a
    second. Otherwise it is the one of which most is spoken after the cut.
    """
    nearest = bisect_right(words, cut_s, key=lambda word: (word.start_s + word.end_s) / 2)
    near = [
        (abs(number - nearest), number)
        for number in range(max(1, nearest - _WORDS_NEAR_CUT), min(len(words), nearest + _WORDS_NEAR_CUT + 1))
        if words[number - 1].ends_sentence
        and words[number - 1].end_s - WORD_TIME_ERROR_S <= cut_s <= words[number].start_s + WORD_TIME_ERROR_S
    ]
    return min(near)[1] if near else nearest


def _in_order(words: Iterable[_Word]) -> Iterator[_Word]:
    """Yield the words with times that do not go back."""
    end_s = 0.0
    for word in words:
        word = word.starts_later(end_s)
        end_s = word.end_s
        yield word


class _Passage:
    """Words that may be one cue or several. Sums over its words make the cost of a cue cheap to compute."""

    def __init__(self, words: Sequence[_Word]) -> None:
        self._words = words
        self._ends = [word.text.rstrip(_CLOSING) for word in words]
        self._columns = list(accumulate((columns(word.text) + word.is_spaced for word in words), initial=0))
        self._sentence_ends = list(accumulate((end.endswith(_SENTENCE_ENDS) for end in self._ends), initial=0))
        self._pauses_s = list(
            accumulate((after.start_s - before.end_s for before, after in pairwise(words)), initial=0.0)
        )

    def cues(self) -> Iterator[Cue]:
        """Yield the cues of least cost, found by dynamic programming over where cues end."""
        best: list[tuple[float, int]] = [(0.0, 0)]
        """For each number of words, the cost of their best division and where its last cue starts."""
        for stop in range(1, len(self._words) + 1):
            options = []
            for start in range(stop - 1, -1, -1):
                if stop - start > 1 and not self._fits(start, stop):
                    break
                options.append((best[start][0] + self._cost(start, stop), start))
            best.append(min(options))
        bounds = [len(self._words)]
        while bounds[-1]:
            bounds.append(best[bounds[-1]][1])
        for start, stop in pairwise(reversed(bounds)):
            start_s = self._words[start].start_s
            yield Cue(start_s, min(self._words[stop - 1].end_s, start_s + MAX_S), self._lines(start, stop))

    def _width(self, start: int, stop: int) -> int:
        return self._columns[stop] - self._columns[start] - self._words[start].is_spaced

    def _fits(self, start: int, stop: int) -> bool:
        if self._words[stop - 1].end_s - self._words[start].start_s > MAX_S:
            return False
        full = self._columns[start] + self._words[start].is_spaced + MAX_COLUMNS
        second = bisect_right(self._columns, full, lo=start, hi=stop + 1) - 1
        return second == stop or self._width(second, stop) <= MAX_COLUMNS

    def _cost(self, start: int, stop: int) -> float:
        duration_s = self._words[stop - 1].end_s - self._words[start].start_s
        cost = _CUE_COST + _SENTENCE_WITHIN_COST * (self._sentence_ends[stop - 1] - self._sentence_ends[start])
        if stop < len(self._words) and not self._ends[stop - 1].endswith(_SENTENCE_ENDS):
            is_clause_end = self._ends[stop - 1].endswith(_CLAUSE_ENDS)
            cost += _AFTER_CLAUSE_COST if is_clause_end else _WITHIN_CLAUSE_COST
        cost += _SHORT_COST * max(0.0, MIN_S - duration_s)
        cost += _FAST_COST * max(0.0, self._width(start, stop) / max(duration_s, MIN_S) - MAX_COLUMNS_PER_S)
        return cost + _PAUSE_WITHIN_COST * (self._pauses_s[stop - 1] - self._pauses_s[start])

    def _lines(self, start: int, stop: int) -> tuple[str, ...]:
        """Return the words in one line or, balanced, in two."""
        if self._width(start, stop) <= MAX_COLUMNS:
            return (self._text(start, stop),)
        options = []
        for second in range(start + 1, stop):
            widths = self._width(start, second), self._width(second, stop)
            if max(widths) <= MAX_COLUMNS:
                is_clause_end = self._ends[second - 1].endswith((*_SENTENCE_ENDS, *_CLAUSE_ENDS))
                cost = abs(widths[0] - widths[1]) - _CLAUSE_END_COLUMNS * is_clause_end
                # Of two equal ones, the one with the longer lower line hides less of the picture.
                options.append((cost, widths[0], second))
        second = min(options)[2]
        return self._text(start, second), self._text(second, stop)

    def _text(self, start: int, stop: int) -> str:
        return "".join(" " * word.is_spaced + word.text for word in self._words[start:stop]).strip()


def _with_readable_times(cues: Sequence[tuple[int, Cue]], cuts_s: Sequence[float]) -> list[Cue]:
    """Return the cues, given with the number of their shot, with ends put off as long as reading takes, and with
    earlier starts where that does not suffice for MIN_S."""
    bounds_s = [0.0, *cuts_s, math.inf]
    readable: list[Cue] = []
    for index, (shot, cue) in enumerate(cues):
        before_s = max(bounds_s[shot], readable[-1].end_s if readable else 0.0)
        after_s = min(bounds_s[shot + 1], cues[index + 1][1].start_s if index + 1 < len(cues) else math.inf)
        after_s = max(after_s, before_s)
        start_s = min(max(cue.start_s, before_s), after_s)
        reading_s = min(MAX_S, max(MIN_S, sum(map(columns, cue.lines)) / MAX_COLUMNS_PER_S))
        end_s = min(max(cue.end_s, start_s + reading_s), after_s)
        start_s = max(before_s, min(start_s, end_s - MIN_S))
        readable.append(Cue(start_s, end_s, cue.lines))
    return readable


def _silences(speech: Sequence[tuple[float, float]], end_s: float) -> list[tuple[float, float]]:
    silences = []
    now_s = 0.0
    for start_s, stop_s in speech:
        if start_s > now_s:
            silences.append((now_s, start_s))
        now_s = max(now_s, stop_s)
    if end_s > now_s:
        silences.append((now_s, end_s))
    return silences


def _time(seconds: float, separator: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{separator}{milliseconds % 1000:03}"


def _srt_text(cue: Cue) -> str:
    # SRT cannot escape what separates its times.
    return "\n".join(cue.lines).replace("-->", "→")


def _vtt_text(cue: Cue) -> str:
    return "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
