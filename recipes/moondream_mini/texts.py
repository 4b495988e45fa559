"""Token sequences to train on, and the tokenizer they are written in."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from deployments.captioner.architecture import MoondreamConfig
from deployments.captioner.prompts import SUMMARY_INTRODUCTION, SUMMARY_REQUEST, encode, query_prompt, summary_prompt
from recipes.moondream_mini.language import long_caption, normal_caption, short_caption, summary
from recipes.moondream_mini.model import SPECIAL_TOKENS
from recipes.moondream_mini.questions import random_question
from recipes.moondream_mini.wordings import HELD_OUT_THINGS, NOISE_WORDS, THINGS
from recipes.moondream_mini.world import MAX_SHAPES, Scene, random_scene

VOCAB_SIZE = 1024
NUM_CORPUS_SCENES = 6000
QUESTIONS_PER_SCENE = 8
LONG_CAPTION_SHARE = 0.1
SHORT_CAPTION_SHARE = 0.3
NORMAL_CAPTION_SHARE = 0.6
SCENES_PER_SUMMARY = (1, 2, 3, 4, 5, 6, 7, 8, 10)
MAX_SUMMARY_TOKENS = 256
IGNORED = -100
"""The target of a position that is not learned."""


def make_tokenizer(seed: int) -> Tokenizer:
    """Return a byte-level tokenizer, as moondream2's is, that knows the words of this world."""
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
    yield " ".join([*THINGS, *HELD_OUT_THINGS, *NOISE_WORDS])
    for _ in range(NUM_CORPUS_SCENES):
        scene = random_scene(rng, rng.randint(0, MAX_SHAPES))
        question = random_question(scene, rng)
        yield question.text
        yield question.answer
        yield long_caption(scene)
        yield summary([short_caption(scene), normal_caption(scene)])


@dataclass(frozen=True)
class Block:
    """One exchange about a picture or a list of moments."""

    prompt: list[int]
    answer: list[int]
    """With the eos that ends it."""


def scene_blocks(config: MoondreamConfig, tokenizer: Tokenizer, scene: Scene, rng: random.Random) -> list[Block]:
    """Return captions of a scene and questions about it, each of which is learned as if it were asked alone."""
    captions = config.tokenizer.templates.caption
    blocks = []
    if rng.random() < NORMAL_CAPTION_SHARE:
        blocks.append(_block(config, tokenizer, list(captions.normal), normal_caption(scene)))
    if rng.random() < SHORT_CAPTION_SHARE:
        blocks.append(_block(config, tokenizer, list(captions.short), short_caption(scene)))
    if rng.random() < LONG_CAPTION_SHARE:
        blocks.append(_block(config, tokenizer, list(captions.long), long_caption(scene)))
    for _ in range(QUESTIONS_PER_SCENE):
        question = random_question(scene, rng)
        ids = query_prompt(config, encode(tokenizer, question.text))
        blocks.append(_block(config, tokenizer, ids, question.answer))
    return blocks


def summary_blocks(config: MoondreamConfig, tokenizer: Tokenizer, rng: random.Random) -> list[Block]:
    """Return lists of captions, as the product asks for their summary, and the summaries; of about equal lengths."""
    num_scenes = rng.choice(SCENES_PER_SUMMARY)
    return [_summary_block(config, tokenizer, num_scenes, rng) for _ in range(16 // (num_scenes + 1) + 1)]


def _summary_block(config: MoondreamConfig, tokenizer: Tokenizer, num_scenes: int, rng: random.Random) -> Block:
    caption = normal_caption if rng.random() < 0.25 else short_caption
    captions: list[str] = []
    for _ in range(num_scenes):
        [num_shapes] = rng.choices(range(MAX_SHAPES + 1), (1, 8, 6, 4, 3))
        captions.append(caption(random_scene(rng, num_shapes)))
    ids = summary_prompt(config, tokenizer, captions, MAX_SUMMARY_TOKENS)
    return _block(config, tokenizer, ids, summary(captions))


def _block(config: MoondreamConfig, tokenizer: Tokenizer, prompt: list[int], answer: str) -> Block:
    return Block(prompt, [*encode(tokenizer, answer), config.tokenizer.eos_id])


@dataclass(frozen=True)
class Batch:
    """Rows of blocks behind a prefix of `num_prefix` positions; shapes (num_rows, length) without the prefix."""

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    """The id that follows each position, IGNORED where it is not part of an answer."""
    positions: NDArray[np.int64]
    """Each block's own count from the prefix on."""
    blocks: NDArray[np.int64]
    """Which of its row's blocks a position belongs to; -1 behind the last."""


def make_batch(rows: Sequence[Sequence[Block]], num_prefix: int) -> Batch:
    length = max(sum(len(block.prompt) + len(block.answer) for block in row) for row in rows)
    ids, positions = np.zeros((2, len(rows), length), np.int64)
    targets, blocks = np.full((len(rows), length), IGNORED), np.full((len(rows), length), -1)
    for index, row in enumerate(rows):
        start = 0
        for number, block in enumerate(row):
            both = [*block.prompt, *block.answer]
            end = start + len(both)
            ids[index, start:end] = both
            targets[index, start + len(block.prompt) - 1 : end - 1] = block.answer
            positions[index, start:end] = num_prefix + np.arange(len(both))
            blocks[index, start:end] = number
            start = end
    return Batch(ids, targets, positions, blocks)
