"""Where the segments of a window end."""

from typing import Any

import pytest

from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.segments import end_at_pauses
from deployments.transcriber.voice_activity import Span


def speech(*times_s: tuple[float, float]) -> list[Span]:
    return [Span(round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE)) for start_s, end_s in times_s]


def segment(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    """Return a segment as the model gives it, whose words take the same time each."""
    words = text.split()
    step_s = (end_s - start_s) / len(words)
    return {
        "start": start_s,
        "end": end_s,
        "text": f" {text}",
        "tokens": list(text.encode()),
        "words": [
            {"word": f" {word}", "start": start_s + i * step_s, "end": start_s + (i + 1) * step_s}
            for i, word in enumerate(words)
        ],
    }


def ends(
    segments: list[dict[str, Any]], spans: list[Span], untranscribed_s: tuple[float, ...] = ()
) -> list[tuple[str, float]]:
    return [(one["text"].strip(), round(one["end"], 3)) for one in end_at_pauses(segments, spans, untranscribed_s)]


HALVES = segment("says he is looking for the", 0.2, 4.4), segment("pot of gold.", 4.4, 5.9)


def test_segments_within_a_sentence_become_one_where_nobody_pauses() -> None:
    """Whisper ended one after "for the"; a pause that is shorter than 0.3 s is none."""
    for spans in (speech((0.2, 5.9)), speech((0.2, 4.3), (4.5, 5.9))):
        [joined] = end_at_pauses(HALVES, spans, [])
        assert (joined["start"], joined["end"]) == (0.2, 5.9)
        for key in ("text", "tokens", "words"):
            assert joined[key] == HALVES[0][key] + HALVES[1][key]


@pytest.mark.parametrize(
    ("first", "second", "spans"),
    [
        (*HALVES, speech((0.2, 4.3), (4.7, 5.9))),
        (segment("for the", 0.2, 4.0), HALVES[1], speech((0.2, 5.9))),
        (segment("It rains.", 0.2, 4.4), segment("We go.", 4.4, 5.9), speech((0.2, 5.9))),
        (segment("下雨了。", 0.2, 4.4), segment("我们走", 4.4, 5.9), speech((0.2, 5.9))),
        (segment("He said “go.”", 0.2, 4.4), HALVES[1], speech((0.2, 5.9))),
        (segment("Er sagte: „Geh.“", 0.2, 4.4), segment("Wir gehen.", 4.4, 5.9), speech((0.2, 5.9))),
        (segment("for the", 0.2, 10.4), segment("pot of gold", 10.4, 15.9), speech((0.2, 15.9))),
    ],
    ids=[
        "a pause",
        "a pause in the text",
        "a sentence's end",
        "a Chinese one",
        "a quotation's end",
        "a German one",
        "too long",
    ],
)
def test_other_segments_stay_apart(first: dict[str, Any], second: dict[str, Any], spans: list[Span]) -> None:
    assert [one["text"] for one in end_at_pauses([first, second], spans, [])] == [first["text"], second["text"]]


def test_segments_stay_apart_where_the_text_between_them_is_missing() -> None:
    """It is decoded in a window of its own, and put between them."""
    spans = speech((0.2, 5.9))
    assert len(end_at_pauses(HALVES, spans, [4.0])) == 2
    assert len(end_at_pauses(HALVES, spans, [5.9])) == 1


def test_a_segment_lasts_until_its_speech_ends() -> None:
    """Whisper ended one 0.75 s before the end of "workhouse"."""
    one = segment("Why, it might have been in the workhouse.", 0.2, 2.6)
    assert ends([one], speech((0.3, 3.35))) == [(one["text"].strip(), 3.35)]
    assert ends([one], speech((0.3, 2.9), (3.1, 3.35), (4, 5))) == [(one["text"].strip(), 3.35)]


@pytest.mark.parametrize(
    ("spans", "later_s", "untranscribed_s", "end_s"),
    [
        (speech((0.3, 3.7)), None, (), 2.6),
        (speech((0.3, 2.8), (3.0, 4.0)), None, (), 2.8),
        (speech((0.3, 3.3)), 3.0, (), 2.6),
        (speech((0.3, 2.8), (3.0, 5.0)), 3.0, (), 2.8),
        (speech((0.3, 3.3)), None, (2.9,), 2.6),
        (speech((0.3, 2.2)), None, (), 2.6),
    ],
    ids=[
        "the text of more than a second is missing",
        "but not that of less",
        "another text starts in the same speech",
        "or after a short pause",
        "so does one that is not decoded yet",
        "the detector hears the end too early",
    ],
)
def test_a_segment_does_not_get_the_time_of_other_speech(
    spans: list[Span], later_s: float | None, untranscribed_s: tuple[float, ...], end_s: float
) -> None:
    one = segment("Why, it might have been in the workhouse.", 0.2, 2.6)
    later = [] if later_s is None else [segment("Then we go.", later_s, later_s + 1)]
    assert ends([one, *later], spans, untranscribed_s)[0] == (one["text"].strip(), end_s)


def test_a_segment_ends_before_the_first_word_of_the_next_one() -> None:
    """Whisper may give a segment a start that is later than that of its first word."""
    first, second = segment("Why, it might be.", 0.2, 2.6), segment("Then we go.", 2.9, 4.0)
    second["start"] = 3.3
    assert ends([first, second], speech((0.3, 3.2), (3.4, 4.0)))[0][1] == 2.6


def test_a_segment_without_words_keeps_its_end() -> None:
    one = {**segment("♪", 0.2, 2.6), "words": []}
    assert end_at_pauses([one, one], speech((0.3, 3.0)), []) == [one, one]
