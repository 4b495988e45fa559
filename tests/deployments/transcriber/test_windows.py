import random

import numpy as np
import pytest

from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.voice_activity import FRAME_SAMPLES, Span, SpeechProbabilities
from deployments.transcriber.windows import WINDOW_SAMPLES, Window, pack_into_windows


def spans_of(*times_s: tuple[float, float]) -> list[Span]:
    return [Span(round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE)) for start_s, end_s in times_s]


def windows_of(
    *times_s: tuple[float, float], duration_s: float = 600, probabilities: SpeechProbabilities | None = None
) -> list[Window]:
    """Return the windows of a recording with speech at these times."""
    num_samples = round(duration_s * SAMPLE_RATE)
    certain = np.ones(-(-num_samples // FRAME_SAMPLES), np.float32)
    return pack_into_windows(spans_of(*times_s), certain if probabilities is None else probabilities, num_samples)


def spans_s(window: Window) -> list[tuple[float, float]]:
    return [(round(span.start / SAMPLE_RATE, 3), round(span.end / SAMPLE_RATE, 3)) for span in window.spans]


def mapped(window: Window, start_s: float, end_s: float) -> tuple[float, float]:
    """Return the times of a segment in the recording, rounded."""
    start, end = window.times_in_recording(start_s, end_s, *window.chunk_range(start_s, end_s))
    return round(start, 3), round(end, 3)


def test_a_recording_without_speech_has_no_windows() -> None:
    assert windows_of() == []


def test_long_silences_are_removed_except_for_padding_and_short_pauses_are_kept() -> None:
    [window] = windows_of((10, 12), (13.5, 15), (20, 22))
    assert spans_s(window) == [(9.6, 15.4), (19.6, 22.4)]


def test_padding_ends_with_the_recording() -> None:
    [window] = windows_of((0.1, 2), (5, 6.8), duration_s=7)
    assert spans_s(window) == [(0, 2.4), (4.6, 7)]


def test_a_windows_audio_is_the_concatenation_of_its_chunks() -> None:
    [window] = windows_of((0.1, 2), (5, 6.8), duration_s=7)
    waveform = np.arange(7 * SAMPLE_RATE, dtype=np.float32)
    expected = np.concatenate([waveform[: round(2.4 * SAMPLE_RATE)], waveform[round(4.6 * SAMPLE_RATE) :]])
    np.testing.assert_array_equal(window.extract(waveform), expected)


def test_a_window_ends_at_the_longest_pause_in_its_second_half() -> None:
    windows = windows_of((0, 10), (12, 18), (18.5, 22), (23.9, 26), (26.3, 33))
    assert spans_s(windows[0]) == [(0, 22.4)]
    assert spans_s(windows[1]) == [(23.5, 33.4)]


def test_a_window_ends_early_rather_than_split_an_utterance() -> None:
    windows = windows_of((0, 10), (12, 38))
    assert [spans_s(window) for window in windows] == [[(0, 10.4)], [(11.6, 38.4)]]


def test_a_silence_longer_than_a_window_starts_a_new_window() -> None:
    windows = windows_of((0, 2), (31, 33), (63, 65))
    assert [len(window.spans) for window in windows] == [2, 1]


def test_speech_longer_than_a_window_is_split_at_the_lowest_speech_probability() -> None:
    probabilities = np.ones(60 * SAMPLE_RATE // FRAME_SAMPLES, np.float32)
    probabilities[[100, 600, 1300]] = 0.2, 0.6, 0.5  # the first is in the first half of a window
    windows = windows_of((0, 60), duration_s=60, probabilities=probabilities)
    cuts = [(frame + 0.5) * FRAME_SAMPLES / SAMPLE_RATE for frame in (600, 1300)]
    assert [spans_s(window) for window in windows] == [
        [(0, pytest.approx(cuts[0], abs=1e-3))],
        [(pytest.approx(cuts[0], abs=1e-3), pytest.approx(cuts[1], abs=1e-3))],
        [(pytest.approx(cuts[1], abs=1e-3), 60)],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_all_speech_is_packed_in_order_into_windows_of_at_most_30_s(seed: int) -> None:
    rng = random.Random(seed)
    spans, end = [], 0.0
    for _ in range(rng.choice([1, 30, 100])):
        start = end + rng.choice([0.16, 0.5, 2, 2.1, 5, 40]) * rng.uniform(0.9, 1.1)
        end = start + rng.choice([0.3, 2, 10, 29, 31, 75]) * rng.uniform(0.9, 1.1)
        spans.append((start, end))
    probabilities = np.random.default_rng(seed).random(int((end + 1) * SAMPLE_RATE // FRAME_SAMPLES) + 1)
    windows = windows_of(*spans, duration_s=end + 1, probabilities=probabilities.astype(np.float32))
    is_in_window = np.zeros(int((end + 1) * SAMPLE_RATE), bool)
    previous = 0
    for window in windows:
        assert 0 < sum(span.end - span.start for span in window.spans) <= WINDOW_SAMPLES
        for span in window.spans:
            assert span.start < span.end
            is_in_window[span.start : span.end] = True
        assert window.start >= previous
        previous = window.start
    for span in spans_of(*spans):
        assert is_in_window[span.start : span.end].all()
    waveform = np.ones(len(is_in_window), np.float32)
    assert sum(len(window.extract(waveform)) for window in windows) < sum(
        span.end - span.start + 3 * SAMPLE_RATE for span in spans_of(*spans)
    )


def test_two_hours_fill_about_as_few_windows_as_possible() -> None:
    """Three seconds in every five, and speech without a pause: 7200 s each."""
    conversation = windows_of(*((start, start + 3) for start in range(0, 7200, 5)), duration_s=7200)
    assert len(conversation) < 7200 * 3.8 / 30 * 1.2
    assert len(windows_of((0, 7200), duration_s=7200)) < 7200 / 15 + 1


def test_times_in_a_window_map_to_times_in_the_recording() -> None:
    # In the window: 0 to 5.8 s is 9.6 to 15.4 s, 5.8 to 8.6 s is 19.6 to 22.4 s.
    [window] = windows_of((10, 12), (13.5, 15), (20, 22))
    assert mapped(window, 0.5, 2.3) == (10.1, 11.9)
    assert mapped(window, 3.9, 5.3) == (13.5, 14.9)
    assert mapped(window, 6.3, 8.1) == (20.1, 21.9)


def test_a_segment_that_barely_reaches_the_next_chunk_does_not_span_the_silence() -> None:
    [window] = windows_of((10, 15), (20, 22))
    assert mapped(window, 0.4, 6.3) == (10, 15.15)
    assert mapped(window, 5.3, 8.2) == (19.85, 22)
    assert mapped(window, 0.4, 7.2) == (10, 21)


def test_a_segment_that_covers_a_short_word_after_a_silence_spans_the_silence() -> None:
    [window] = windows_of((10, 15), (20, 20.3))
    assert mapped(window, 0.4, 6.5) == (10, 20.3)


def test_segment_times_are_clipped_to_the_detected_speech() -> None:
    [window] = windows_of((10, 12), (100, 102), duration_s=110)[:1]
    assert mapped(window, 0, 2.8) == (9.85, 12.15)


def test_text_that_lies_in_padding_only_stays_there() -> None:
    [window] = windows_of((10, 12), (20, 22))
    assert mapped(window, 2.5, 2.7) == (12.1, 12.15)
    assert mapped(window, 2.6, 2.8) == (12.2, 12.4)


@pytest.mark.parametrize(
    ("start_s", "end_s", "chunk"), [(0.5, 1, 0), (2.2, 3.1, 0), (2.2, 3.5, 1), (2.5, 2.7, 0), (2.85, 3.0, 1)]
)
def test_a_word_belongs_to_the_chunk_it_overlaps_most(start_s: float, end_s: float, chunk: int) -> None:
    [window] = windows_of((10, 12), (20, 22))
    assert window.chunk_index(start_s, end_s) == chunk


def test_the_remainder_of_a_window_maps_to_the_same_times() -> None:
    [window] = windows_of((10, 15), (20, 22), (27, 29))
    remainder = window.remainder_after(round(6.5 * SAMPLE_RATE))  # the first chunk has 5.8 s
    assert remainder is not None
    assert spans_s(remainder) == [(20.3, 22.4), (26.6, 29.4)]
    assert mapped(remainder, 0, 1) == (20.3, 21.3)
    later = window.remainder_after(round(5.6 * SAMPLE_RATE))
    assert later is not None
    assert spans_s(later) == [(19.6, 22.4), (26.6, 29.4)]


def test_a_remainder_starts_at_its_speech() -> None:
    [window] = windows_of((10, 12), (13.9, 16))
    remainder = window.remainder_after(round(2.5 * SAMPLE_RATE))
    assert remainder is not None
    assert spans_s(remainder) == [(13.5, 16.4)]


def test_chunks_after_a_time_are_those_that_no_text_reaches() -> None:
    [window] = windows_of((10, 15), (20, 20.3), (27, 29))
    later = window.chunks_after(5.4)  # in the padding of the first
    assert later is not None
    assert spans_s(later) == [(19.6, 20.7), (26.6, 29.4)]
    last = window.chunks_after(6.5)
    assert last is not None
    assert spans_s(last) == [(26.6, 29.4)]
    assert window.chunks_after(8) is None


def test_hardly_any_speech_leaves_no_remainder() -> None:
    [window] = windows_of((10, 15), (20, 22))
    assert window.remainder_after(round(7.3 * SAMPLE_RATE)) is None
    assert window.remainder_after(round(8.6 * SAMPLE_RATE)) is None


def test_the_mean_speech_probability_of_a_window_is_that_of_its_speech() -> None:
    second = SAMPLE_RATE / FRAME_SAMPLES
    probabilities = np.zeros(round(40 * second), np.float32)
    probabilities[round(10 * second) : round(11 * second)] = 0.9
    probabilities[round(20 * second) : round(23 * second)] = 0.5
    [window] = windows_of((10, 11), (20, 23), duration_s=40, probabilities=probabilities)
    assert window.mean_probability(probabilities) == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    ("time_s", "spans"),
    [
        (2.6, [(12.4, 14)]),
        (3.3, [(12.9, 14)]),
        (3.8, None),
        (0.5, [(12.4, 14)]),
    ],
)
def test_utterances_after_the_end_of_the_text_are_missed_if_they_follow_a_pause(
    time_s: float, spans: list[tuple[float, float]] | None
) -> None:
    """In the window, 0.4 s is 10 s. The word at 11.7 s belongs to what comes before."""
    [window] = windows_of((10, 11.5), (11.7, 12), (12.8, 13.0), (13.3, 13.6), (20, 22))
    missed = window.missed_after(time_s)
    assert (missed and spans_s(missed)) == spans


def test_a_sound_that_is_shorter_than_a_word_is_not_missed() -> None:
    [window] = windows_of((10, 11.5), (12.8, 12.9))
    assert window.missed_after(2.0) is None
    [window] = windows_of((10, 11.5), (12.8, 13.1))
    missed = window.missed_after(2.0)
    assert missed is not None
    assert missed.is_second_look
