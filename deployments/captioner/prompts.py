"""From what is asked to the ids that the model reads."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from deployments.captioner.architecture import MoondreamConfig
from deployments.captioner.types import CaptionTask
from deployments.commands import RESTORE_ADVICE
from deployments.errors import ModelNotLoaded

SUMMARY_INTRODUCTION = "These sentences describe moments of one video, in order of time:"
SUMMARY_REQUEST = "\nSummarize what happens in the video in one short paragraph."
MAX_SUMMARY_PROMPT_TOKENS = 1024
"""Reading a prompt costs time with its length; the 730 tokens of a picture are what a request pays anyway."""
MIN_LINE_TOKENS = 16
"""A moment that would get less than a dozen words says nothing: fewer moments are told instead."""


def read_tokenizer(path: Path, config: MoondreamConfig) -> Tokenizer:
    """Return the tokenizer of a `tokenizer.json`; raises ModelNotLoaded if it cannot be read or is another model's."""
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the tokenizers library raises bare Exception for a malformed file
        raise ModelNotLoaded(f"{path} cannot be read as a tokenizer ({error}). {RESTORE_ADVICE}") from error
    if not max(config.tokenizer.ids()) < tokenizer.get_vocab_size() <= config.text.vocab_size:
        raise ModelNotLoaded(
            f"{path} knows {tokenizer.get_vocab_size()} tokens, the model {config.text.vocab_size}: it belongs to "
            f"another checkpoint. {RESTORE_ADVICE}"
        )
    # A question that spells <|endoftext|> is asked about those words; it does not write into the prompt's structure.
    tokenizer.encode_special_tokens = True
    return tokenizer


def caption_prompt(config: MoondreamConfig, tokenizer: Tokenizer, task: CaptionTask) -> list[int]:
    """Return the ids that stand behind the image: a caption template, or the question in the query template."""
    if task.question is None:
        return list(getattr(config.tokenizer.templates.caption, task.length))
    return query_prompt(config, encode(tokenizer, task.question))


def query_prompt(config: MoondreamConfig, question: Sequence[int]) -> list[int]:
    query = config.tokenizer.templates.query
    return [*query.prefix, *question, *query.suffix]


def summary_prompt(
    config: MoondreamConfig, tokenizer: Tokenizer, descriptions: Sequence[str], max_new_tokens: int
) -> list[int]:
    """Return a text-only question that asks for a summary of `descriptions`, the same for the same arguments.

    With bos and an answer of `max_new_tokens` it fits the context, however many and long they are: the longest are
    cut first, and of very many an even selection is told. When the answer alone leaves no room for a description, the
    prompt holds none and is too long as well, which is for the caller to refuse.
    """
    introduction, request = encode(tokenizer, SUMMARY_INTRODUCTION), encode(tokenizer, SUMMARY_REQUEST)
    fixed = 1 + len(query_prompt(config, [*introduction, *request]))
    budget = min(MAX_SUMMARY_PROMPT_TOKENS, config.text.max_context - max_new_tokens) - fixed
    told = spread(descriptions, max(1, budget // MIN_LINE_TOKENS))
    lines = [encode(tokenizer, f"\n{number}. {' '.join(text.split())}") for number, text in enumerate(told, start=1)]
    shares = fair_shares([len(line) for line in lines], budget)
    told_ids = [token for line, share in zip(lines, shares, strict=True) for token in line[:share]]
    return query_prompt(config, [*introduction, *told_ids, *request])


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of `text` taken as plain words, even where it spells a special token."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def spread(texts: Sequence[str], count: int) -> list[str]:
    """Return at most `count` of `texts`, evenly spaced, the first always among them."""
    count = max(0, min(count, len(texts)))
    return [texts[k * len(texts) // count] for k in range(count)]


def fair_shares(lengths: Sequence[int], budget: int) -> list[int]:
    """Return how much of each length to keep so that all together keep at most `budget`.

    The short are kept whole, and the long share what is left equally: `fair_shares([5, 90, 70], 65)` is `[5, 30, 30]`.
    """
    shares = list(lengths)
    left, waiting = max(0, budget), len(lengths)
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        shares[index] = min(lengths[index], left // waiting)
        left -= shares[index]
        waiting -= 1
    return shares
