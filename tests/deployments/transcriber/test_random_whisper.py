"""The properties of the random checkpoint that other tests rely on."""

import math

import torch

from deployments.cancellation import Cancellation
from deployments.transcriber.types import TranscribeTask
from tests.deployments.transcriber.conftest import Loaded
from tests.deployments.transcriber.random_whisper import WORDS
from tests.deployments.transcriber.sounds import noise, tone


def test_different_sounds_give_different_words(loaded: Loaded) -> None:
    sounds = [tone(), tone(hz=440), tone(hz=450), noise(5), noise(5, seed=1)]
    texts = [loaded.engine.transcribe(sound, TranscribeTask(), Cancellation(math.inf)).text for sound in sounds]
    assert len(set(texts)) == len(sounds)
    assert set(" ".join(texts).split()) <= set(WORDS.split())


def test_texts_are_confident_short_and_have_timestamps(loaded: Loaded) -> None:
    for sound in (tone(), noise(5)):
        transcript = loaded.engine.transcribe(sound, TranscribeTask(), Cancellation(math.inf))
        assert transcript.confidence > 0.5
        assert 2 <= len(transcript.text.split()) < 150
        assert all(segment.start_s > 0 for segment in transcript.segments)


def test_the_checkpoint_is_stored_in_half_precision(loaded: Loaded) -> None:
    weights = torch.load(loaded.path)["model_state_dict"]
    assert all(weight.dtype == torch.float16 and bool(weight.isfinite().all()) for weight in weights.values())
