import numpy as np

from deployments.transcriber.speakers.encoder import divide_into_windows
from deployments.transcriber.speakers.labels import Turn
from deployments.transcriber.speakers.turns import find_turns
from deployments.transcriber.voice_activity import Span

VOICES = np.eye(2, dtype=np.float32)
FIRST, SECOND, UNCLEAR = (0.6, 0.1), (0.1, 0.6), (0.3, 0.32)


def turns_of(speech: list[Span], similarity: list[tuple[float, float]]) -> list[Turn]:
    return find_turns(divide_into_windows(speech), np.array(similarity, np.float32), VOICES)


def test_each_utterance_has_the_speaker_it_is_most_like() -> None:
    turns = turns_of([Span(0, 24_000), Span(32_000, 48_000), Span(56_000, 72_000)], [FIRST, SECOND, FIRST])
    assert turns == [Turn(0.0, 1.5, 0), Turn(2.0, 3.0, 1), Turn(3.5, 4.5, 0)]


def test_a_change_without_a_pause_is_in_the_middle_of_the_overlap() -> None:
    turns = turns_of([Span(0, 60_000)], [FIRST, FIRST, SECOND, SECOND])
    assert turns == [Turn(0.0, 1.875, 0), Turn(1.875, 3.75, 1)]


def test_an_unclear_window_does_not_change_the_speaker() -> None:
    turns = turns_of([Span(0, 48_000)], [FIRST, UNCLEAR, FIRST])
    assert turns == [Turn(0.0, 3.0, 0)]


def test_a_short_utterance_that_is_unclear_belongs_to_who_speaks_around_it() -> None:
    turns = turns_of([Span(0, 24_000), Span(30_000, 36_000), Span(40_000, 64_000)], [FIRST, (0.2, 0.4), FIRST])
    assert [turn.speaker for turn in turns] == [0, 0, 0]
    turns = turns_of([Span(0, 24_000), Span(30_000, 54_000), Span(60_000, 84_000)], [FIRST, (0.2, 0.4), FIRST])
    assert [turn.speaker for turn in turns] == [0, 1, 0]
