"""Who speaks when: the most probable sequence of voices in the windows of a recording."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.speakers.encoder import WINDOW_SAMPLES, Vectors, VoiceWindow
from deployments.transcriber.speakers.labels import Turn

_CHANGE_COST = 0.1
"""Of another voice in the next window, in units of cosine similarity..."""
_CHANGE_AFTER_PAUSE_COST = 0.05
"""...and of another one after a pause. A voice is 0.4 more like itself than like another, so this only decides where a
window is short or has both."""


def find_turns(windows: Sequence[VoiceWindow], vectors: Vectors, voices: Vectors) -> list[Turn]:
    """Return who speaks when, in order. Between two overlapping windows, the border is in the middle of the overlap."""
    speakers = _best_sequence(windows, vectors @ voices.T)
    turns = []
    for _, numbers in groupby(range(len(windows)), key=lambda k: (windows[k].utterance, speakers[k])):
        part = list(numbers)
        turns.append(Turn(_start_s(windows, part[0]), _end_s(windows, part[-1]), int(speakers[part[0]])))
    return turns


def _best_sequence(windows: Sequence[VoiceWindow], similarity: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the voice of each window, by Viterbi's algorithm. `similarity` has shape (num_windows, num_voices)."""
    num_windows, num_voices = similarity.shape
    came_from = np.empty((num_windows, num_voices), np.intp)
    score = np.zeros(num_voices)
    for number, window in enumerate(windows):
        is_within = number > 0 and windows[number - 1].utterance == window.utterance
        best = int(score.argmax())
        changed = score[best] - (_CHANGE_COST if is_within else _CHANGE_AFTER_PAUSE_COST)
        came_from[number] = np.where(score >= changed, np.arange(num_voices), best)
        # A short window says less about the voice.
        score = np.maximum(score, changed) + similarity[number] * (window.num_samples / WINDOW_SAMPLES)
    speakers = np.empty(num_windows, np.intp)
    speakers[-1] = score.argmax()
    for number in range(num_windows - 1, 0, -1):
        speakers[number - 1] = came_from[number, speakers[number]]
    return speakers


def _start_s(windows: Sequence[VoiceWindow], number: int) -> float:
    """Return where the part of a window starts in which no other one decides."""
    window = windows[number]
    if number == 0 or windows[number - 1].utterance != window.utterance:
        return window.span.start / SAMPLE_RATE
    return (windows[number - 1].span.end + window.span.start) / 2 / SAMPLE_RATE


def _end_s(windows: Sequence[VoiceWindow], number: int) -> float:
    if number + 1 == len(windows) or windows[number + 1].utterance != windows[number].utterance:
        return windows[number].span.end / SAMPLE_RATE
    return _start_s(windows, number + 1)
