"""Which language is spoken in each window of a recording; windows are divided where it changes."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.types import TranscriptSegment
from deployments.transcriber.windows import Window

_CLEAR_PROBABILITY = 0.9
"""Below it a window is taken to be in the language of the recording, if that is likely in it. Whisper base gives 0.92
to 1.00 to most windows of one language, and 0.60 to one of noisy sentences."""
_SECOND_PROBABILITY = 0.1
"""A window may be in each language that is at least so likely. Of 60 windows of two languages (8, 15 or 22 s of one of
five, then the other), the second one is so likely in 36. In windows of one language it is mostly below 0.01, but with
noisy sentences often 0.03 to 0.1."""
_MIN_SPEECH_SAMPLES = 8 * SAMPLE_RATE
"""With less speech a window is taken to have one language: the model is seldom sure of it."""

LanguageProbabilities = Mapping[str, float]
"""By the code of the language."""


class WindowLanguages:
    """The languages of a recording's windows: the requested one, or what the model detects in each."""

    def __init__(self, main: str, detect: Callable[[Window], LanguageProbabilities] | None) -> None:
        """Take the language of the recording, and what detects that of a window; None if all have that language."""
        self.main = main
        self._detect = detect
        self._known: dict[Window, str] = {}

    def of(self, window: Window) -> str:
        """Return the language in which a window is to be decoded, after `divide`."""
        return self._known.get(window, self.main)

    def set(self, windows: Sequence[Window], language: str) -> None:
        """Note the language of windows in which it need not be detected."""
        self._known.update((window, language) for window in windows)

    def divide(self, window: Window) -> list[Window]:
        """Return the window, or its parts if more than one language is spoken in it; their languages are known then."""
        if self._detect is None or window in self._known or window.has_little_speech:
            return [window]
        probabilities = self._detect(window)
        leaves = self._leaves(window, probabilities)
        languages = languages_of_parts([language for _, language in leaves], self.main)
        if len(set(languages)) == 1:
            self.set([window], languages[0])
            return [window]
        divided = []
        for language, run in groupby(zip(languages, leaves, strict=True), key=lambda one: one[0]):
            divided.append(Window.joined([part for _, (part, _) in run]))
            self.set(divided[-1:], language)
        return divided

    def _language(self, probabilities: LanguageProbabilities) -> str | None:
        """Return the language that is clear, or else None if that of the recording is likely, or else the likeliest."""
        language = likeliest(probabilities)
        is_unclear = probabilities[language] < _CLEAR_PROBABILITY
        return None if is_unclear and probabilities.get(self.main, 0) >= _SECOND_PROBABILITY else language

    def _leaves(self, window: Window, probabilities: LanguageProbabilities) -> list[tuple[Window, str | None]]:
        """Return the parts of a window with their languages, or None where that is not clear.

        Halves are looked at before quarters, because each takes the encoder as long as a window.
        """
        halves = window.halves() if _may_have_two(window, probabilities) else [window]
        if len(halves) == 1:
            return [(window, self._language(probabilities))]
        assert self._detect is not None
        return [leaf for half in halves for leaf in self._leaves(half, self._detect(half))]


def likeliest(probabilities: LanguageProbabilities) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def languages_of_parts(detected: Sequence[str | None], main: str) -> list[str]:
    """Return the language of each part: where it is not clear that of the part before, or else of the first clear one.

    If none is clear, it is `main`.
    """
    language = next((one for one in detected if one is not None), main)
    languages = []
    for one in detected:
        language = one or language
        languages.append(language)
    return languages


def most_spoken_language(segments: Sequence[TranscriptSegment], otherwise: str) -> str:
    """Return the language whose segments are the longest in all; without segments it is `otherwise`."""
    seconds: dict[str, float] = {}
    for segment in segments:
        seconds[segment.language] = seconds.get(segment.language, 0.0) + segment.end_s - segment.start_s
    return likeliest(seconds) if seconds else otherwise


def _may_have_two(window: Window, probabilities: LanguageProbabilities) -> bool:
    second = sorted(probabilities.values())[-2:][0]
    return second >= _SECOND_PROBABILITY and window.num_speech_samples >= _MIN_SPEECH_SAMPLES
