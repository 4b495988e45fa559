"""The tokenizer, the token sequences to train on, and how they are packed into batches."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.prompts import SUMMARY_INTRODUCTION, SUMMARY_REQUEST, encode, query_prompt, summary_prompt
from recipes.moondream_mini.captions_and_answers import long_caption, normal_caption, short_caption, summary
from recipes.moondream_mini.model import SPECIAL_TOKENS
from recipes.moondream_mini.questions import random_question
from recipes.moondream_mini.wordings import FILLER_WORDS, HELD_OUT_THINGS, THINGS
from recipes.moondream_mini.world import MAX_SHAPES, Scene, random_scene

VOCAB_SIZE = 1024
NUM_CORPUS_SCENES = 6000
"""Scenes whose texts the tokenizer is trained on."""
QUESTIONS_PER_SCENE = 8
LONG_CAPTION_PROBABILITY = 0.1
SHORT_CAPTION_PROBABILITY = 0.3
NORMAL_CAPTION_PROBABILITY = 0.6
SCENES_PER_SUMMARY = (1, 2, 3, 4, 5, 6, 7, 8, 10)
MAX_SUMMARY_TOKENS = 256
IGNORED = -100
"""The target of positions that do not count towards the loss."""


def make_tokenizer(seed: int) -> Tokenizer:
    """Return a byte-level BPE tokenizer, like moondream2's, trained on the captions and questions of this world."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(random.Random(seed)), trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _corpus(rng: random.Random) -> Iterator[str]:
    yield SUMMARY_INTRODUCTION
    yield SUMMARY_REQUEST
    yield "".join(f"\n{number}. " for number in range(1, 33))
    yield " ".join([*THINGS, *HELD_OUT_THINGS, *FILLER_WORDS])
    for _ in range(NUM_CORPUS_SCENES):
        scene = random_scene(rng, rng.randint(0, MAX_SHAPES))
        question = random_question(scene, rng)
        yield question.text
        yield question.answer
        yield long_caption(scene)
        yield summary([short_caption(scene), normal_caption(scene)])


@dataclass(frozen=True)
class Segment:
    """Token ids of one prompt and its answer."""

    prompt: list[int]
    answer: list[int]
    """Ends with the eos token."""


def scene_segments(config: MoondreamConfig, tokenizer: Tokenizer, scene: Scene, rng: random.Random) -> list[Segment]:
    """Return captions of a scene and questions about it. Segments do not see each other in training."""
    captions = config.tokenizer.templates.caption
    segments = []
    if rng.random() < NORMAL_CAPTION_PROBABILITY:
        segments.append(_segment(config, tokenizer, list(captions.normal), normal_caption(scene)))
    if rng.random() < SHORT_CAPTION_PROBABILITY:
        segments.append(_segment(config, tokenizer, list(captions.short), short_caption(scene)))
    if rng.random() < LONG_CAPTION_PROBABILITY:
        segments.append(_segment(config, tokenizer, list(captions.long), long_caption(scene)))
    for _ in range(QUESTIONS_PER_SCENE):
        question = random_question(scene, rng)
        ids = query_prompt(config, encode(tokenizer, question.text))
        segments.append(_segment(config, tokenizer, ids, question.answer))
    return segments


def summary_segments(config: MoondreamConfig, tokenizer: Tokenizer, rng: random.Random) -> list[Segment]:
    """Return prompts that ask for a summary of captions, as the product words them, and the summaries.

    The more captions a summary has, the fewer segments are returned, so that the total length varies little.
    """
    num_scenes = rng.choice(SCENES_PER_SUMMARY)
    return [_summary_segment(config, tokenizer, num_scenes, rng) for _ in range(16 // (num_scenes + 1) + 1)]


def _summary_segment(config: MoondreamConfig, tokenizer: Tokenizer, num_scenes: int, rng: random.Random) -> Segment:
    caption = normal_caption if rng.random() < 0.25 else short_caption
    captions: list[str] = []
    for _ in range(num_scenes):
        [num_shapes] = rng.choices(range(MAX_SHAPES + 1), (1, 8, 6, 4, 3))
        captions.append(caption(random_scene(rng, num_shapes)))
    ids = summary_prompt(config, tokenizer, captions, MAX_SUMMARY_TOKENS)
    return _segment(config, tokenizer, ids, summary(captions))


def _segment(config: MoondreamConfig, tokenizer: Tokenizer, prompt: list[int], answer: str) -> Segment:
    return Segment(prompt, [*encode(tokenizer, answer), config.tokenizer.eos_id])


@dataclass(frozen=True)
class Batch:
    """Rows of packed segments. All shapes are (num_rows, length); the prefix in front of each row is not included."""

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    """The id that follows each position; IGNORED where that id is not part of an answer."""
    positions: NDArray[np.int64]
    """Position ids: each segment counts on from the end of the prefix."""
    segments: NDArray[np.int64]
    """Number of each position's segment within its row; -1 is padding."""


def make_batch(rows: Sequence[Sequence[Segment]], num_prefix: int) -> Batch:
    """Pack each row's segments one after the other, behind a prefix of `num_prefix` positions."""
    length = max(sum(len(segment.prompt) + len(segment.answer) for segment in row) for row in rows)
    ids, positions = np.zeros((2, len(rows), length), np.int64)
    targets, segments = np.full((len(rows), length), IGNORED), np.full((len(rows), length), -1)
    for index, row in enumerate(rows):
        start = 0
        for number, segment in enumerate(row):
            tokens = [*segment.prompt, *segment.answer]
            end = start + len(tokens)
            ids[index, start:end] = tokens
            targets[index, start + len(segment.prompt) - 1 : end - 1] = segment.answer
            positions[index, start:end] = num_prefix + np.arange(len(tokens))
            segments[index, start:end] = number
            start = end
    return Batch(ids, targets, positions, segments)
