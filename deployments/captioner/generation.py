"""Greedy decoding: one prefill per sequence, then decode steps that advance all sequences together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.moondream import CheckCancelled, Moondream
from deployments.captioner.types import FinishReason
from deployments.errors import InvalidRequest
from deployments.inference.kv_cache import KeyValueCache


@dataclass(frozen=True)
class GeneratedTokens:
    """The generated token ids, without eos."""

    ids: list[int]
    finish_reason: FinishReason


def prompt_length(config: MoondreamConfig, num_prompt_ids: int, *, has_image: bool) -> int:
    """Return how many positions bos, the image (if any) and the prompt take."""
    return num_prompt_ids + (config.text.prefix_attn if has_image else 1)


def check_fits_context(config: MoondreamConfig, num_prompt_positions: int, max_new_tokens: int) -> None:
    """Raise InvalidRequest if prompt and answer exceed the model's context, or if the answer would be empty."""
    context = config.text.max_context
    max_allowed = context - num_prompt_positions
    if max_allowed < 1:
        raise InvalidRequest(
            f"The prompt is too long: it leaves no room for an answer. Shorten it by at least {1 - max_allowed} tokens."
        )
    if not 1 <= max_new_tokens <= max_allowed:
        raise InvalidRequest(
            f"max_length must be between 1 and {max_allowed} with this prompt, not {max_new_tokens}: image, prompt "
            f"and answer share the model's context of {context} tokens. Lower max_length or shorten the prompt."
        )


@torch.inference_mode()
def generate(
    model: Moondream,
    prompt_ids: Sequence[int],
    caches: Sequence[KeyValueCache],
    max_new_tokens: int,
    check_cancelled: CheckCancelled,
    report: Callable[[Sequence[Sequence[int]]], None] = lambda answers: None,
) -> list[GeneratedTokens]:
    """Return one answer to the prompt for each KV cache, in order. No caches give no answers.

    Each cache holds an image's prefix or is empty. An answer does not depend on the other sequences of the batch:
    bit for bit in int8 with up to 32 sequences; otherwise up to the order in which fp32 or bf16 sums are rounded.
    `report` gets the ids of all answers so far, after each step. Raises whatever `check_cancelled` raises.
    """
    tokenizer = model.config.tokenizer
    answers: list[list[int]] = [[] for _ in caches]
    has_stopped = [False] * len(caches)
    running = list(range(len(caches)))
    logits = [model.prefill_prompt(prompt_ids, cache, check_cancelled) for cache in caches]
    for num_steps in range(1, max_new_tokens + 1):
        for sequence, next_id in zip(running, [int(row.argmax()) for row in logits], strict=True):
            if next_id == tokenizer.eos_id:
                has_stopped[sequence] = True
            else:
                answers[sequence].append(next_id)
        report(answers)
        running = [sequence for sequence in running if not has_stopped[sequence]]
        if not running or num_steps == max_new_tokens:
            break
        check_cancelled(f"{num_steps} of at most {max_new_tokens} tokens were generated")
        last_ids = [answers[sequence][-1] for sequence in running]
        batch_logits = model.decode(last_ids, [caches[sequence] for sequence in running])
        # As in Moondream's own code, `answer_id` may only be the first token of an answer.
        batch_logits[:, tokenizer.answer_id] = -torch.inf
        logits = list(batch_logits)
    return [
        GeneratedTokens(ids, "stop" if stopped else "length") for ids, stopped in zip(answers, has_stopped, strict=True)
    ]
