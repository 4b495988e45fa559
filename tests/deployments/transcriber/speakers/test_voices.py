"""The features are Kaldi's, and the network is 3D-Speaker's."""

import json

import numpy as np
import pytest
import torch

from deployments.project import project_folder
from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.speakers.campplus import CamPlusPlus
from deployments.transcriber.speakers.encoder import WINDOW_SAMPLES, VoiceEncoder, VoiceWindow, divide_into_windows
from deployments.transcriber.speakers.fbank import log_mel_bands
from deployments.transcriber.voice_activity import Span
from tests.data.speakers.sound import sound
from tests.deployments.transcriber.random_campplus import SIZES, random_weights

REFERENCE = json.loads((project_folder() / "tests" / "data" / "speakers" / "reference.json").read_text())
"""By Kaldi's code and 3D-Speaker's; see make_reference.py beside it."""


@pytest.fixture(scope="module")
def network() -> CamPlusPlus:
    network = CamPlusPlus(SIZES)
    network.load_state_dict(random_weights())
    return network


def test_the_features_are_those_of_kaldi() -> None:
    expected = torch.tensor(REFERENCE["bands"])
    both = np.stack([sound(pitch_hz=200.0), sound()])
    bands = log_mel_bands(torch.from_numpy(both))
    assert bands.shape == (2, *expected.shape)
    assert (bands[1] - expected).abs().max() < 1e-3
    assert (bands[0] - expected).abs().max() > 1


def test_the_vector_is_that_of_3d_speaker(network: CamPlusPlus) -> None:
    expected = torch.tensor(REFERENCE["vector"])
    both = np.stack([sound(pitch_hz=200.0), sound()])
    bands = log_mel_bands(torch.from_numpy(both))
    vectors = network(bands - bands.mean(1, keepdim=True))
    assert (vectors[1] - expected).abs().max() < 1e-3
    assert (vectors[0] - expected).abs().max() > 1e-2


def test_windows_cover_all_speech_and_none_has_two_utterances() -> None:
    speech = [Span(0, 100), Span(1_000, 1_000 + WINDOW_SAMPLES), Span(100_000, 200_000), Span(300_000, 324_001)]
    windows = divide_into_windows(speech)
    for number, span in enumerate(speech):
        own = [window.span for window in windows if window.utterance == number]
        assert (own[0].start, own[-1].end) == span
        for before, after in zip(own, own[1:], strict=False):
            assert 0 < after.start - before.start <= WINDOW_SAMPLES // 2
            assert before.end - before.start == after.end - after.start == WINDOW_SAMPLES
    assert [windows[0].span, windows[1].span] == speech[:2]
    assert divide_into_windows([]) == []


def test_vectors_are_unit_vectors_whatever_they_are_computed_together_with(network: CamPlusPlus) -> None:
    recording = np.concatenate([sound(20 * SAMPLE_RATE, 120.0), sound(20 * SAMPLE_RATE, 250.0)])
    windows = divide_into_windows([Span(0, 8 * SAMPLE_RATE), Span(21 * SAMPLE_RATE, 22 * SAMPLE_RATE)])
    done: list[int] = []
    vectors = VoiceEncoder(network).vectors(recording, windows, done.append)
    assert done == [0, 8]
    assert vectors.shape == (len(windows), SIZES.vector_dim)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    alone = VoiceEncoder(network).vectors(recording, windows[-1:], done.append)
    assert np.abs(vectors[-1] - alone[0]).max() < 1e-4


def test_a_short_window_has_the_voice_of_a_long_one(network: CamPlusPlus) -> None:
    # A second of a sound that repeats every 0.1 s, and a window and a half of it.
    tone = np.tile(sound(1_600), 40)
    windows = [VoiceWindow(Span(0, 16_000), 0), VoiceWindow(Span(0, WINDOW_SAMPLES), 1)]
    short, long = VoiceEncoder(network).vectors(tone, windows, lambda _: None)
    assert np.abs(short - long).max() < 1e-4
