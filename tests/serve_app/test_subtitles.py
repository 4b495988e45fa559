from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from deployments.transcriber.types import TranscriptSegment, TranscriptWord
from serve_app.subtitles import (
    MAX_COLUMNS,
    MAX_S,
    MIN_S,
    Cue,
    columns,
    description_cues,
    to_srt,
    to_vtt,
    transcript_cues,
)
from tests.cues import read_cues

SPEECH = (
    "Good morning, everyone, and welcome to the third meeting of the year. Today we will talk about the budget. First, "
    "however, I'd like to say a few words about the fair in Hannover, which went much better than anybody had expected."
)
CHINESE = (
    "今天的会议我们将讨论预算问题，首先我想说几句关于汉诺威展览会的事情，那里的情况比任何人预期的都要好得多。谢谢大家。"
)


def spoken(text: str, start_s: float, columns_per_s: float = 15.0) -> TranscriptSegment:
    """Return a segment whose words are spoken at an even rate."""
    words = []
    now_s = start_s
    for word in text.split():
        end_s = now_s + (len(word) + 1) / columns_per_s
        words.append(TranscriptWord(f" {word}", now_s, end_s, 0.9))
        now_s = end_s
    return TranscriptSegment(start_s, now_s, text, 0.9, words)


def without_words(text: str, start_s: float, end_s: float) -> TranscriptSegment:
    return TranscriptSegment(start_s, end_s, text, 0.9)


def text_of(cues: Sequence[Cue]) -> str:
    return " ".join(" ".join(cue.lines) for cue in cues)


@pytest.mark.parametrize(
    "segments",
    [
        [spoken(SPEECH, 1.0)],
        [spoken(SPEECH, 1.0, columns_per_s=40.0)],
        [spoken(SPEECH, 1.0, columns_per_s=3.0)],
        [without_words(SPEECH, 0.0, 14.0)],
        [without_words(CHINESE, 0.0, 14.0)],
        [spoken("A", 0.0), spoken(f"https://example.com/{'x' * 100} is long.", 5.0), spoken("B", 30.0)],
        [spoken("Yes.", k * 3.0) for k in range(5)],
    ],
)
def test_every_cue_can_be_read_and_no_word_is_lost(segments: list[TranscriptSegment]) -> None:
    cues = transcript_cues(segments)
    assert text_of(cues).replace(" ", "") == "".join(segment.text for segment in segments).replace(" ", "")
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < columns(line) <= MAX_COLUMNS for line in cue.lines)
        assert cue.end_s - cue.start_s <= MAX_S + 1e-6
    assert all(first.end_s <= second.start_s + 1e-6 for first, second in pairwise(cues))


@pytest.mark.parametrize("columns_per_s", [8.0, 12.0, 16.0])
def test_at_the_speed_of_speech_every_cue_stays_for_a_second(columns_per_s: float) -> None:
    cues = transcript_cues([spoken(f"{SPEECH} Yes. No. Well, perhaps.", 1.0, columns_per_s)])
    assert all(cue.end_s - cue.start_s >= MIN_S - 1e-6 for cue in cues)


def test_cues_end_with_sentences_and_lines_with_clauses_where_they_can() -> None:
    sentences = ("Today we will talk about the budget of the year.", "First, some words about the fair in Hannover.")
    cues = transcript_cues([spoken(" ".join(sentences), 0.0)])
    assert [" ".join(cue.lines) for cue in cues] == list(sentences)
    [cue] = transcript_cues([spoken("When the fair was over, everybody went home by train.", 0.0)])
    assert cue.lines == ("When the fair was over,", "everybody went home by train.")


def test_a_long_pause_ends_a_cue_even_within_a_sentence() -> None:
    cues = transcript_cues([spoken("We begin with", 0.0), spoken("the budget.", 3.0)])
    assert [cue.lines for cue in cues] == [("We begin with",), ("the budget.",)]
    assert cues[1].start_s == pytest.approx(3.0)


def test_a_short_pause_does_not() -> None:
    assert len(transcript_cues([spoken("We begin with", 0.0), spoken("the budget.", 1.5)])) == 1


def said_by(speaker: str, segment: TranscriptSegment, *, with_words: bool = True) -> TranscriptSegment:
    words = [replace(word, speaker=speaker) for word in segment.words] if with_words else []
    return replace(segment, speaker=speaker, words=words)


@pytest.mark.parametrize("with_words", [True, False])
def test_no_cue_has_two_speakers(*, with_words: bool) -> None:
    segments = [spoken("We begin with", 0.0), spoken("the budget.", 1.0), spoken("Good.", 1.9), spoken("So,", 2.4)]
    speakers = ["S1", "S1", "S2", "S1"]
    labelled = [said_by(*pair, with_words=with_words) for pair in zip(speakers, segments, strict=True)]
    cues = transcript_cues(labelled)
    assert [" ".join(cue.lines) for cue in cues] == ["We begin with the budget.", "Good.", "So,"]
    assert all(first.end_s <= second.start_s + 1e-6 for first, second in pairwise(cues))
    assert len(transcript_cues([said_by("S1", segment) for segment in segments])) == 1


def test_no_cue_is_shown_across_a_cut() -> None:
    cut_s = 2.0
    cues = transcript_cues([spoken("We begin with the budget of the coming year, which is small.", 0.0)], [cut_s])
    assert text_of(cues) == "We begin with the budget of the coming year, which is small."
    assert all(cue.end_s <= cut_s or cue.start_s >= cut_s for cue in cues)
    assert len(cues) == 2


def test_a_sentence_that_begins_next_to_a_cut_is_shown_after_it() -> None:
    # The first word of the second sentence is mostly before the cut, by its times.
    cues = transcript_cues([spoken("It is on the left.", 0.0), spoken("A square is at the top.", 2.9)], [3.0])
    assert [(cue.start_s, " ".join(cue.lines)) for cue in cues] == [
        (0.0, "It is on the left."),
        (3.0, "A square is at the top."),
    ]


def test_a_short_word_stays_for_a_second_before_or_after_it_but_not_across_a_cut() -> None:
    [alone] = transcript_cues([spoken("Yes.", 4.0)])
    assert (alone.start_s, alone.end_s) == (4.0, 5.0)
    [before_cut] = transcript_cues([spoken("Yes.", 4.0)], [4.5])
    assert (before_cut.start_s, before_cut.end_s) == (3.5, 4.5)
    [between] = transcript_cues([spoken("Yes.", 4.0)], [3.9, 4.5])
    assert (between.start_s, between.end_s) == (3.9, 4.5)


def test_a_cue_stays_as_long_as_reading_takes() -> None:
    [cue] = transcript_cues([spoken("Somebody says all of these many words at once.", 0.0, columns_per_s=46.0)])
    assert cue.end_s == pytest.approx(45 / 20)


def test_lines_of_chinese_have_half_as_many_letters() -> None:
    lines = [line for cue in transcript_cues([without_words(CHINESE, 0.0, 9.0)]) for line in cue.lines]
    assert max(map(len, lines)) in range(15, 22)


def test_words_that_overlap_are_put_one_after_the_other() -> None:
    words = [TranscriptWord(" one", 0.0, 2.0, 0.9), TranscriptWord(" two", 1.0, 1.5, 0.9)]
    cues = transcript_cues([TranscriptSegment(0.0, 2.0, "one two", 0.9, words), spoken("three", 1.0)])
    assert text_of(cues) == "one two three"
    assert all(first.end_s <= second.start_s for first, second in pairwise(cues))


def test_nothing_said_gives_no_cues() -> None:
    assert transcript_cues([]) == []
    assert transcript_cues([without_words("  ", 0.0, 1.0)]) == []
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n\n"


def test_the_files_say_when_and_what() -> None:
    cues = [Cue(0.0, 1.5, ("Hello",)), Cue(3661.0004, 3662.9996, ("a < b & c", "--> d"))]
    assert to_srt(cues) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello\n\n2\n01:01:01,000 --> 01:01:03,000\na < b & c\n→ d\n\n"
    )
    assert to_vtt(cues) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello\n\n"
        "01:01:01.000 --> 01:01:03.000\na &lt; b &amp; c\n--&gt; d\n\n"
    )


@pytest.mark.parametrize("write", [to_srt, to_vtt])
def test_another_program_reads_the_same_cues(write: Callable[[list[Cue]], str]) -> None:
    cues = transcript_cues([spoken(SPEECH, 1.0), spoken("Tom & Jerry.", 30.0)])
    assert list(read_cues(write(cues))) == [
        (pytest.approx(cue.start_s, abs=1e-3), pytest.approx(cue.end_s, abs=2e-3), "\n".join(cue.lines)) for cue in cues
    ]


DOG = "A brown dog sleeps on a blue sofa."
"""Takes 2.3 seconds to say."""


def test_a_description_is_said_in_the_first_silence_that_is_long_enough() -> None:
    frames = [(4.0, DOG), (12.0, "A cat.")]
    speech = [(0.0, 3.0), (4.0, 5.0), (7.5, 9.0)]
    cues = description_cues(frames, speech, end_s=20.0)
    assert cues == [Cue(5.0, pytest.approx(5.0 + 34 / 15), (DOG,)), Cue(9.0, 10.0, ("A cat.",))]


def test_a_description_that_finds_no_silence_is_left_out() -> None:
    assert description_cues([(4.0, DOG)], [(0.0, 9.5)], end_s=10.0) == []
    assert description_cues([(4.0, DOG)], [(0.0, 8.85)], end_s=10.0) == [Cue(8.85, 10.0, (DOG,))]


def test_a_description_is_said_while_its_shot_is_on_screen() -> None:
    [cue] = description_cues([(6.0, DOG)], [], end_s=20.0, cuts_s=[5.0, 9.0])
    assert 5.0 <= cue.start_s < cue.end_s <= 9.0
    assert description_cues([(6.0, DOG)], [], end_s=20.0, cuts_s=[5.5, 6.4]) == []


def test_a_description_may_be_said_in_its_whole_shot_but_not_beside_another_frame_of_it() -> None:
    frames = [(0.0, DOG), (4.0, "A cat."), (8.0, "A cow.")]
    cues = description_cues(frames, [(0.0, 3.0), (4.0, 6.5)], end_s=20.0, cuts_s=[7.9])
    assert [(cue.start_s, cue.lines[0]) for cue in cues] == [(3.0, "A cat."), (7.9, "A cow.")]


def test_frames_without_a_description_are_passed_over() -> None:
    assert [cue.lines for cue in description_cues([(1.0, ""), (5.0, DOG)], [], end_s=10.0)] == [(DOG,)]
