"""Greedy decoding: one prefill for each prompt, then every prompt's next token in one step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deployments.captioner.architecture import MoondreamConfig
from deployments.captioner.moondream import Check, KeyValueCache, Moondream, Prompt
from deployments.captioner.types import FinishReason
from deployments.errors import InvalidRequest


@dataclass(frozen=True)
class Answer:
    """The ids that the model wrote, without the eos that ended them."""

    ids: list[int]
    finish_reason: FinishReason


def prompt_length(config: MoondreamConfig, num_ids: int, *, has_image: bool) -> int:
    """Return the positions that bos, the image and `num_ids` prompt ids take."""
    return num_ids + (config.text.prefix_attn if has_image else 1)


def check_fits(config: MoondreamConfig, length: int, max_new_tokens: int) -> None:
    """Return if a prompt of `length` positions leaves room for the answer; raise InvalidRequest saying what would."""
    context = config.text.max_context
    allowed = context - length
    if allowed < 1:
        raise InvalidRequest(
            f"The prompt is too long: it leaves no room for an answer. Shorten it by at least {1 - allowed} tokens."
        )
    if not 1 <= max_new_tokens <= allowed:
        raise InvalidRequest(
            f"max_length must be between 1 and {allowed} with this prompt, not {max_new_tokens}: picture, prompt and "
            f"answer share the {context} tokens that the model can hold. Lower max_length or shorten the prompt."
        )


@torch.inference_mode()
def generate(model: Moondream, prompts: Sequence[Prompt], max_new_tokens: int, check: Check) -> list[Answer]:
    """Return one answer for each prompt, in order; no prompts give no answers.

    All prompts must be of one length. Their rows are independent: an answer is the same whoever it is decoded with.
    Raises InvalidRequest when prompt and answer do not fit the context, and whatever `check` raises.
    """
    if not prompts:
        return []
    lengths = {prompt_length(model.config, len(prompt.ids), has_image=prompt.image is not None) for prompt in prompts}
    if len(lengths) > 1:
        raise ValueError(f"Prompts decoded together must have one length, not {sorted(lengths)}.")
    length = lengths.pop()
    check_fits(model.config, length, max_new_tokens)

    cache = KeyValueCache.allocate(model.config.text, len(prompts), length + max_new_tokens, model.dtype)
    logits = torch.cat([model.prefill(prompt, cache.row(row), check) for row, prompt in enumerate(prompts)])
    cache.length = length

    tokenizer = model.config.tokenizer
    answers: list[list[int]] = [[] for _ in prompts]
    is_finished = [False] * len(prompts)
    for written in range(1, max_new_tokens + 1):
        next_ids = logits.argmax(dim=-1)
        for row, token in enumerate(next_ids.tolist()):
            is_finished[row] = is_finished[row] or token == tokenizer.eos_id
            if not is_finished[row]:
                answers[row].append(token)
        if all(is_finished) or written == max_new_tokens:
            break
        check(f"{written} of at most {max_new_tokens} tokens were written")
        logits = model.decode(next_ids, cache)
        logits[:, tokenizer.answer_id] = -torch.inf
    return [Answer(ids, "stop" if ended else "length") for ids, ended in zip(answers, is_finished, strict=True)]
