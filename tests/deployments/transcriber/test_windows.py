import random

import numpy as np
import pytest

from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.speech import FRAME_SAMPLES, Probabilities, Span
from deployments.transcriber.windows import WINDOW_SAMPLES, Window, gather


def spans_of(*times_s: tuple[float, float]) -> list[Span]:
    return [Span(round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE)) for start_s, end_s in times_s]


def gathered(
    *times_s: tuple[float, float], duration_s: float = 600, probabilities: Probabilities | None = None
) -> list[Window]:
    """Return the windows of a recording in which somebody speaks at these times."""
    num_samples = round(duration_s * SAMPLE_RATE)
    certain = np.ones(-(-num_samples // FRAME_SAMPLES), np.float32)
    return gather(spans_of(*times_s), certain if probabilities is None else probabilities, num_samples)


def kept_s(window: Window) -> list[tuple[float, float]]:
    return [(round(span.start / SAMPLE_RATE, 3), round(span.end / SAMPLE_RATE, 3)) for span in window.spans]


def moved(window: Window, start_s: float, end_s: float) -> tuple[float, float]:
    """Return when a segment of the window is said, rounded."""
    start, end = window.times_in_recording(start_s, end_s, *window.pieces_of(start_s, end_s))
    return round(start, 3), round(end, 3)


def test_no_speech_makes_no_window() -> None:
    assert gathered() == []


def test_long_silences_are_cut_away_but_for_a_margin_and_short_pauses_stay() -> None:
    [window] = gathered((10, 12), (13.5, 15), (20, 22))
    assert kept_s(window) == [(9.6, 15.4), (19.6, 22.4)]


def test_there_is_no_margin_beyond_the_recording() -> None:
    [window] = gathered((0.1, 2), (5, 6.8), duration_s=7)
    assert kept_s(window) == [(0, 2.4), (4.6, 7)]


def test_a_windows_sound_is_what_it_keeps_of_the_recording() -> None:
    [window] = gathered((0.1, 2), (5, 6.8), duration_s=7)
    waveform = np.arange(7 * SAMPLE_RATE, dtype=np.float32)
    expected = np.concatenate([waveform[: round(2.4 * SAMPLE_RATE)], waveform[round(4.6 * SAMPLE_RATE) :]])
    np.testing.assert_array_equal(window.sound(waveform), expected)


def test_a_window_ends_at_the_longest_pause_of_its_second_half() -> None:
    windows = gathered((0, 10), (12, 18), (18.5, 22), (23.9, 26), (26.3, 33))
    assert kept_s(windows[0]) == [(0, 22.4)]
    assert kept_s(windows[1]) == [(23.5, 33.4)]


def test_a_window_is_short_rather_than_that_speech_is_cut() -> None:
    windows = gathered((0, 10), (12, 38))
    assert [kept_s(window) for window in windows] == [[(0, 10.4)], [(11.6, 38.4)]]


def test_a_silence_of_a_whole_window_begins_a_new_one() -> None:
    windows = gathered((0, 2), (31, 33), (63, 65))
    assert [len(window.spans) for window in windows] == [2, 1]


def test_speech_too_long_for_a_window_is_cut_where_the_detector_was_least_sure() -> None:
    probabilities = np.ones(60 * SAMPLE_RATE // FRAME_SAMPLES, np.float32)
    probabilities[[100, 600, 1300]] = 0.2, 0.6, 0.5  # the first is in the first half of a window
    windows = gathered((0, 60), duration_s=60, probabilities=probabilities)
    cuts = [(frame + 0.5) * FRAME_SAMPLES / SAMPLE_RATE for frame in (600, 1300)]
    assert [kept_s(window) for window in windows] == [
        [(0, pytest.approx(cuts[0], abs=1e-3))],
        [(pytest.approx(cuts[0], abs=1e-3), pytest.approx(cuts[1], abs=1e-3))],
        [(pytest.approx(cuts[1], abs=1e-3), 60)],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_all_speech_is_in_windows_of_at_most_30_s_in_order(seed: int) -> None:
    rng = random.Random(seed)
    spans, end = [], 0.0
    for _ in range(rng.choice([1, 30, 100])):
        start = end + rng.choice([0.16, 0.5, 2, 2.1, 5, 40]) * rng.uniform(0.9, 1.1)
        end = start + rng.choice([0.3, 2, 10, 29, 31, 75]) * rng.uniform(0.9, 1.1)
        spans.append((start, end))
    probabilities = np.random.default_rng(seed).random(int((end + 1) * SAMPLE_RATE // FRAME_SAMPLES) + 1)
    windows = gathered(*spans, duration_s=end + 1, probabilities=probabilities.astype(np.float32))
    is_kept = np.zeros(int((end + 1) * SAMPLE_RATE), bool)
    previous = 0
    for window in windows:
        assert 0 < sum(span.end - span.start for span in window.spans) <= WINDOW_SAMPLES
        for span in window.spans:
            assert span.start < span.end
            is_kept[span.start : span.end] = True
        assert window.start >= previous
        previous = window.start
    for span in spans_of(*spans):
        assert is_kept[span.start : span.end].all()
    waveform = np.ones(len(is_kept), np.float32)
    assert sum(len(window.sound(waveform)) for window in windows) < sum(
        span.end - span.start + 3 * SAMPLE_RATE for span in spans_of(*spans)
    )


def test_two_hours_are_gathered_at_once() -> None:
    """Three seconds in every five, and speech without a pause: 7200 s each."""
    talk = gathered(*((start, start + 3) for start in range(0, 7200, 5)), duration_s=7200)
    assert len(talk) < 7200 * 3.8 / 30 * 1.2
    assert len(gathered((0, 7200), duration_s=7200)) < 7200 / 15 + 1


def test_times_go_back_to_where_they_were_said() -> None:
    # In the window: 0 to 5.8 s is 9.6 to 15.4 s, 5.8 to 8.6 s is 19.6 to 22.4 s.
    [window] = gathered((10, 12), (13.5, 15), (20, 22))
    assert moved(window, 0.5, 2.3) == (10.1, 11.9)
    assert moved(window, 3.9, 5.3) == (13.5, 14.9)
    assert moved(window, 6.3, 8.1) == (20.1, 21.9)


def test_a_segment_does_not_reach_over_a_silence_for_a_moment_of_what_follows() -> None:
    [window] = gathered((10, 15), (20, 22))
    assert moved(window, 0.4, 6.3) == (10, 15.15)
    assert moved(window, 5.3, 8.2) == (19.85, 22)
    assert moved(window, 0.4, 7.2) == (10, 21)


def test_a_short_word_after_a_silence_belongs_to_the_segment_that_holds_it() -> None:
    [window] = gathered((10, 15), (20, 20.3))
    assert moved(window, 0.4, 6.5) == (10, 20.3)


def test_a_segment_begins_and_ends_near_the_speech_in_it() -> None:
    [window] = gathered((10, 12), (100, 102), duration_s=110)[:1]
    assert moved(window, 0, 2.8) == (9.85, 12.15)


def test_what_is_heard_in_a_margin_only_stays_there() -> None:
    [window] = gathered((10, 12), (20, 22))
    assert moved(window, 2.5, 2.7) == (12.1, 12.15)
    assert moved(window, 2.6, 2.8) == (12.2, 12.4)


@pytest.mark.parametrize(
    ("start_s", "end_s", "piece"), [(0.5, 1, 0), (2.2, 3.1, 0), (2.2, 3.5, 1), (2.5, 2.7, 0), (2.85, 3.0, 1)]
)
def test_a_word_is_said_where_most_of_it_was_heard(start_s: float, end_s: float, piece: int) -> None:
    [window] = gathered((10, 12), (20, 22))
    assert window.piece_of(start_s, end_s) == piece


def test_what_follows_a_moment_is_a_window_with_the_same_times() -> None:
    [window] = gathered((10, 15), (20, 22), (27, 29))
    rest = window.after(round(6.5 * SAMPLE_RATE))  # 5.8 s are of the first piece
    assert rest is not None
    assert kept_s(rest) == [(20.3, 22.4), (26.6, 29.4)]
    assert moved(rest, 0, 1) == (20.3, 21.3)
    later = window.after(round(5.6 * SAMPLE_RATE))
    assert later is not None
    assert kept_s(later) == [(19.6, 22.4), (26.6, 29.4)]


def test_a_rest_begins_with_its_speech() -> None:
    [window] = gathered((10, 12), (13.9, 16))
    rest = window.after(round(2.5 * SAMPLE_RATE))
    assert rest is not None
    assert kept_s(rest) == [(13.5, 16.4)]


def test_pieces_after_a_moment_are_those_that_nothing_was_heard_of() -> None:
    [window] = gathered((10, 15), (20, 20.3), (27, 29))
    later = window.pieces_after(5.4)  # in the margin of the first
    assert later is not None
    assert kept_s(later) == [(19.6, 20.7), (26.6, 29.4)]
    last = window.pieces_after(6.5)
    assert last is not None
    assert kept_s(last) == [(26.6, 29.4)]
    assert window.pieces_after(8) is None


def test_hardly_any_speech_is_no_rest() -> None:
    [window] = gathered((10, 15), (20, 22))
    assert window.after(round(7.3 * SAMPLE_RATE)) is None
    assert window.after(round(8.6 * SAMPLE_RATE)) is None
