"""Greedy decoding: one prefill for each prompt, then every prompt's next token in one step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deployments.captioner.architecture import MoondreamConfig
from deployments.captioner.moondream import Check, Moondream
from deployments.captioner.types import FinishReason
from deployments.errors import InvalidRequest
from deployments.inference.kv_cache import KeyValueCache


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
def generate(
    model: Moondream, ids: Sequence[int], caches: Sequence[KeyValueCache], max_new_tokens: int, check: Check
) -> list[Answer]:
    """Return the answer to the prompt `ids` after what each cache holds, in order; no caches give no answers.

    An answer does not depend on whom it is decoded with: exactly so in int8 among up to 32; else, and in fp32 and bf16,
    but for the rounding of sums, which the number of rows may reorder. Raises whatever `check` raises.
    """
    tokenizer = model.config.tokenizer
    answers: list[list[int]] = [[] for _ in caches]
    is_ended = [False] * len(caches)
    running = list(range(len(caches)))
    logits = [model.read_prompt(ids, cache, check) for cache in caches]
    for written in range(1, max_new_tokens + 1):
        for row, next_id in zip(running, [int(row.argmax()) for row in logits], strict=True):
            if next_id == tokenizer.eos_id:
                is_ended[row] = True
            else:
                answers[row].append(next_id)
        running = [row for row in running if not is_ended[row]]
        if not running or written == max_new_tokens:
            break
        check(f"{written} of at most {max_new_tokens} tokens were written")
        decoded = model.decode([answers[row][-1] for row in running], [caches[row] for row in running])
        decoded[:, tokenizer.answer_id] = -torch.inf
        logits = list(decoded)
    return [Answer(ids, "stop" if ended else "length") for ids, ended in zip(answers, is_ended, strict=True)]
