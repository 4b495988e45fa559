from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.types import TranscriptSegment
from deployments.transcriber.voice_activity import FRAME_SAMPLES, Span
from deployments.transcriber.window_languages import WindowLanguages, languages_of_parts, most_spoken_language
from deployments.transcriber.windows import Window, pack_into_windows


def windows_of(*utterances: tuple[float, float]) -> list[Window]:
    """Return the windows of a recording in which somebody speaks between these seconds."""
    spans = [Span(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) for start, end in utterances]
    num_samples = spans[-1].end + SAMPLE_RATE
    return pack_into_windows(spans, np.ones(num_samples // FRAME_SAMPLES + 1, np.float32), num_samples)


def seconds_of(windows: Sequence[Window]) -> list[tuple[float, float]]:
    return [(window.spans[0].start / SAMPLE_RATE, window.spans[-1].end / SAMPLE_RATE) for window in windows]


def detection(spoken: Sequence[tuple[float, str]]) -> Callable[[Window], Mapping[str, float]]:
    """Return what a model hears that is sure of the languages; each of them is spoken until the second before it."""

    def detect(window: Window) -> Mapping[str, float]:
        shares = dict.fromkeys(["en", "de", "fr"], 0.0)
        starts = [0.0, *(until for until, _ in spoken)]
        for start, (until, language) in zip(starts, spoken, strict=False):
            for span in window.spans:
                first, last = max(span.start, round(start * SAMPLE_RATE)), min(span.end, round(until * SAMPLE_RATE))
                shares[language] += max(last - first, 0)
        total = sum(shares.values())
        return {language: share / total for language, share in shares.items()}

    return detect


def test_a_requested_language_is_that_of_every_window() -> None:
    windows = windows_of((0, 20), (50, 70))
    languages = WindowLanguages("fr", None)
    assert [languages.divide(window) for window in windows] == [[window] for window in windows]
    assert [languages.of(window) for window in windows] == ["fr", "fr"]


def test_each_window_has_the_language_that_is_clear_in_it() -> None:
    windows = windows_of((0, 20), (50, 70), (100, 120))
    languages = WindowLanguages("en", detection([(40, "en"), (90, "de"), (200, "fr")]))
    assert [languages.divide(window) for window in windows] == [[window] for window in windows]
    assert [languages.of(window) for window in windows] == ["en", "de", "fr"]


@pytest.mark.parametrize(
    ("probabilities", "language"),
    [({"de": 0.7, "en": 0.2, "nl": 0.1}, "en"), ({"de": 0.85, "nl": 0.05, "en": 0.04}, "de")],
)
def test_a_window_of_no_clear_language_has_that_of_the_recording_if_it_is_likely(
    probabilities: dict[str, float], language: str
) -> None:
    [window] = windows_of((0, 7))
    languages = WindowLanguages("en", lambda _: probabilities)
    assert languages.divide(window) == [window]
    assert languages.of(window) == language


def test_a_window_with_little_speech_has_the_language_of_the_recording() -> None:
    windows = windows_of((0, 20), (60, 61.5))
    languages = WindowLanguages("en", detection([(40, "en"), (90, "de")]))
    assert [languages.divide(window) for window in windows] == [[window] for window in windows]
    assert [languages.of(window) for window in windows] == ["en", "en"]


def test_a_window_of_two_languages_is_divided_at_the_pause_between_them() -> None:
    [window] = windows_of((0, 4), (4.5, 8), (8.6, 17), (18, 22), (22.4, 27))
    languages = WindowLanguages("en", detection([(8.3, "de"), (17.5, "en"), (30, "fr")]))
    parts = languages.divide(window)
    assert [languages.of(part) for part in parts] == ["de", "en", "fr"]
    assert seconds_of(parts) == [(0.0, 8.4), (8.2, 17.4), (17.6, 27.4)]
    assert sum(part.num_speech_samples for part in parts) == window.num_speech_samples
    for part in parts:
        assert languages.divide(part) == [part]


def test_a_window_of_one_language_that_sounds_like_two_stays_whole() -> None:
    [window] = windows_of((0, 3), (3.5, 8), (8.6, 12))
    sure, unsure = {"en": 0.95, "cy": 0.01}, {"en": 0.7, "cy": 0.3}
    languages = WindowLanguages("de", lambda one: unsure if one is window else sure)
    assert languages.divide(window) == [window]
    assert languages.of(window) == "en"


@pytest.mark.parametrize(
    ("detected", "expected"),
    [
        ([None, "de", None, "en"], ["de", "de", "de", "en"]),
        ([None, None], ["fr", "fr"]),
        (["en", "de"], ["en", "de"]),
    ],
)
def test_a_part_of_no_clear_language_has_that_of_its_neighbour(detected: list[str | None], expected: list[str]) -> None:
    assert languages_of_parts(detected, "fr") == expected


@pytest.mark.parametrize(
    ("utterances", "halves"),
    [
        ([(0, 3), (3.5, 6), (6.5, 9)], [(0.0, 3.4), (3.1, 9.4)]),
        ([(0, 3), (3.1, 6), (6.5, 9)], [(0.0, 6.4), (6.1, 9.4)]),
        ([(0, 3), (3.1, 6), (6.2, 9)], [(0.0, 9.4)]),
        ([(0, 1), (2, 5), (6, 7)], [(0.0, 7.4)]),
    ],
    ids=["the pause nearest to the middle", "not at a short pause", "no pause", "too little speech on one side"],
)
def test_a_window_is_halved_at_a_pause(
    utterances: list[tuple[float, float]], halves: list[tuple[float, float]]
) -> None:
    [window] = windows_of(*utterances)
    assert seconds_of(window.halves()) == halves


def test_the_language_of_a_transcript_is_that_of_most_of_its_speech() -> None:
    segments = [
        TranscriptSegment(0, 4, "a", 1, language="en"),
        TranscriptSegment(4, 9, "b", 1, language="de"),
        TranscriptSegment(9, 11, "c", 1, language="en"),
    ]
    assert most_spoken_language(segments, "fr") == "en"
    assert most_spoken_language([], "fr") == "fr"
