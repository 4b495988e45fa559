"""Training samples look like the input in production, and the recipe makes a checkpoint that the product loads.

So that the tests do not need espeak-ng, the utterances are bursts of noise, and their phones are the letters.
"""

import math
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper.audio import HOP_LENGTH, SAMPLE_RATE, log_mel_spectrogram
from whisper.tokenizer import get_tokenizer

from deployments.cancellation import Cancellation
from deployments.transcriber.engine import load_engine
from deployments.transcriber.types import TranscribeTask
from recipes.whisper_mini.evaluation import word_errors
from recipes.whisper_mini.language import LANGUAGES, RESERVED, make_sentence
from recipes.whisper_mini.training import train
from recipes.whisper_mini.voices import HELD_OUT_VARIANTS, TRAINING_VARIANTS, Utterance, log_power
from recipes.whisper_mini.windows import WindowComposer


def utterance(language: str, seed: int) -> Utterance:
    rng = random.Random(f"{language} {seed}")
    sound = np.random.default_rng(seed).normal(0, 0.1, int(rng.uniform(1, 3) * SAMPLE_RATE)).astype(np.float32)
    text = make_sentence(language, rng)
    return Utterance(language, text, text.lower(), log_power(sound))


@pytest.fixture(scope="module")
def utterances() -> dict[str, list[Utterance]]:
    return {language: [utterance(language, seed) for seed in range(12)] for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_well_formed_and_never_reserved(language: str) -> None:
    rng = random.Random(3)
    sentences = [make_sentence(language, rng) for _ in range(3000)]
    assert all(text[0].isupper() and text.endswith(".") and "{" not in text for text in sentences)
    assert not RESERVED & set(sentences)
    assert len(set(sentences)) > 2000


def test_held_out_voices_are_not_in_the_training_set() -> None:
    assert not set(TRAINING_VARIANTS) & set(HELD_OUT_VARIANTS)


def test_log_power_equals_whispers_own_spectrogram() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    reference = log_mel_spectrogram(sound).T.numpy()
    mel = log_power(sound).astype(np.float32)
    mel = (np.maximum(mel, mel.max() - 8) + 4) / 4
    # At the ends they differ: Whisper pads with reflected sound, the recipe with silence.
    assert np.abs(mel[3:97] - reference[3:97]).max() < 0.02


def test_windows_have_ordered_timestamps_and_the_text_of_their_sentences(
    utterances: dict[str, list[Utterance]],
) -> None:
    composer = WindowComposer(utterances, np.random.default_rng(0))
    tokenizer = get_tokenizer(True, num_languages=99)
    num_without_speech = 0
    for num_positions in [250] * 60 + [1500] * 30:
        window = composer.compose(num_positions)
        assert window.mel.shape == (80, 2 * num_positions)
        assert np.isfinite(window.mel).all()
        assert window.tokens[0] == tokenizer.sot
        assert window.tokens[-1] == tokenizer.eot
        text = tokenizer.decode([token for token in window.tokens if token < tokenizer.eot])
        assert text.split() == [word for span in window.spans for word in span.text.split()]
        times = [token - tokenizer.timestamp_begin for token in window.tokens if token >= tokenizer.timestamp_begin]
        assert all(0 <= time <= 1500 for time in times)
        assert all(earlier <= later for earlier, later in pairwise(times))
        for span in window.spans:
            assert (window.language_labels[span.start + 1 : span.end - 1] > 0).all()
        num_without_speech += window.first_token == tokenizer.no_speech
    assert 0 < num_without_speech < 30


def test_word_errors_count_insertions_deletions_and_substitutions() -> None:
    assert word_errors("A red circle.", "a red circle") == 0
    assert word_errors("one two three", "one three") == 1
    assert word_errors("one two three", "zero one too three") == 2
    assert word_errors("one", "") == 1


@pytest.mark.slow
def test_the_recipe_makes_a_checkpoint_that_the_product_loads(
    utterances: dict[str, list[Utterance]], tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    path = tmp_path / "whisper-mini.pt"
    num_steps = train([u for many in utterances.values() for u in many], path, 0, 0.1, lambda line: None)
    assert num_steps > 0
    assert path.stat().st_size < 22e6
    sound = np.random.default_rng(1).normal(0, 0.1, 100 * HOP_LENGTH).astype(np.float32)
    transcript = load_engine(path, "int8", speech_detection=False).transcribe(
        sound, TranscribeTask(), Cancellation(math.inf)
    )
    assert transcript.duration_s == 1.0
