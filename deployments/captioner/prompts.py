"""Builds the prompts, as token ids, for captions, questions and summaries."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.types import CaptionTask
from deployments.commands import RESTORE_ADVICE
from deployments.errors import ModelNotLoaded

SUMMARY_INTRODUCTION = "These sentences describe moments of one video, in order of time:"
SUMMARY_REQUEST = "\nSummarize what happens in the video in one short paragraph."
MAX_SUMMARY_PROMPT_TOKENS = 1024
"""Bounds the time of a summary's prefill to little more than that of an image, which has 730 positions."""
MIN_LINE_TOKENS = 16
"""A description cut to fewer tokens, about a dozen words, says too little: fewer descriptions are used instead."""


def read_tokenizer(path: Path, config: MoondreamConfig) -> Tokenizer:
    """Read a `tokenizer.json`; raise ModelNotLoaded if that fails or the tokenizer does not match the model."""
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the tokenizers library raises bare Exception for a malformed file
        raise ModelNotLoaded(f"{path} cannot be read as a tokenizer ({error}). {RESTORE_ADVICE}") from error
    if not max(config.tokenizer.ids()) < tokenizer.get_vocab_size() <= config.text.vocab_size:
        raise ModelNotLoaded(
            f"{path} has {tokenizer.get_vocab_size()} tokens, but the model has {config.text.vocab_size}: this is "
            f"another checkpoint's tokenizer. {RESTORE_ADVICE}"
        )
    # A question that contains "<|endoftext|>" is encoded as plain text, so it cannot change the prompt's structure.
    tokenizer.encode_special_tokens = True
    return tokenizer


def caption_prompt(config: MoondreamConfig, tokenizer: Tokenizer, task: CaptionTask) -> list[int]:
    """Return the ids that follow the image: a caption template, or the question in the query template."""
    if task.question is None:
        return list(getattr(config.tokenizer.templates.caption, task.length))
    return query_prompt(config, encode(tokenizer, task.question))


def query_prompt(config: MoondreamConfig, question: Sequence[int]) -> list[int]:
    query = config.tokenizer.templates.query
    return [*query.prefix, *question, *query.suffix]


def summary_prompt(
    config: MoondreamConfig, tokenizer: Tokenizer, descriptions: Sequence[str], max_new_tokens: int
) -> list[int]:
    """Return a text-only prompt that asks for a summary of `descriptions`. Deterministic.

    With bos and an answer of `max_new_tokens` it fits the context, whatever the number and length of the descriptions:
    the longest are cut first, and of very many only an evenly spaced selection is used. If `max_new_tokens` leaves no
    room for any description, the prompt contains none and still does not fit; the caller must reject it.
    """
    introduction, request = encode(tokenizer, SUMMARY_INTRODUCTION), encode(tokenizer, SUMMARY_REQUEST)
    num_fixed = 1 + len(query_prompt(config, [*introduction, *request]))  # 1 for bos
    budget = min(MAX_SUMMARY_PROMPT_TOKENS, config.text.max_context - max_new_tokens) - num_fixed
    selected = evenly_spaced(descriptions, max(1, budget // MIN_LINE_TOKENS))
    lines = [
        encode(tokenizer, f"\n{number}. {' '.join(text.split())}") for number, text in enumerate(selected, start=1)
    ]
    shares = fair_shares([len(line) for line in lines], budget)
    description_ids = [token for line, share in zip(lines, shares, strict=True) for token in line[:share]]
    return query_prompt(config, [*introduction, *description_ids, *request])


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of `text` as plain text, even where it contains the name of a special token."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def evenly_spaced(texts: Sequence[str], count: int) -> list[str]:
    """Return at most `count` of `texts`, evenly spaced, starting with the first."""
    count = max(0, min(count, len(texts)))
    return [texts[k * len(texts) // count] for k in range(count)]


def fair_shares(lengths: Sequence[int], budget: int) -> list[int]:
    """Divide `budget` among texts of the given lengths: return how much of each to use.

    Short texts are used in full; the long ones share the rest equally: `fair_shares([5, 90, 70], 65)` is `[5, 30, 30]`.
    """
    shares = list(lengths)
    remaining, num_left = max(0, budget), len(lengths)
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        shares[index] = min(lengths[index], remaining // num_left)
        remaining -= shares[index]
        num_left -= 1
    return shares
