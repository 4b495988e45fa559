from pathlib import Path

import pytest
from tokenizers import Tokenizer

from deployments.captioner.model_config import MoondreamConfig, read_config
from deployments.captioner.prompts import (
    MAX_SUMMARY_PROMPT_TOKENS,
    caption_prompt,
    evenly_spaced,
    fair_shares,
    read_tokenizer,
    summary_prompt,
)
from deployments.captioner.types import CaptionLength, CaptionTask
from deployments.errors import ModelNotLoaded


@pytest.fixture(scope="module")
def config(small_checkpoint: Path) -> MoondreamConfig:
    return read_config(small_checkpoint / "config.json")


@pytest.fixture(scope="module")
def tokenizer(small_checkpoint: Path, config: MoondreamConfig) -> Tokenizer:
    return read_tokenizer(small_checkpoint / "tokenizer.json", config)


@pytest.mark.parametrize(("length", "length_id"), [("short", 12492), ("normal", 6382), ("long", 4059)])
def test_a_caption_uses_the_template_of_moondream(length: CaptionLength, length_id: int, tokenizer: Tokenizer) -> None:
    task = CaptionTask(max_new_tokens=10, length=length)
    assert caption_prompt(MoondreamConfig(), tokenizer, task) == [1, 32708, 2, length_id, 3]


def test_a_question_uses_the_query_template(config: MoondreamConfig, tokenizer: Tokenizer) -> None:
    prompt = caption_prompt(config, tokenizer, CaptionTask(max_new_tokens=10, question="What is this?"))
    assert prompt[:3] == [1, 310, 2]
    assert prompt[-1] == 3
    assert tokenizer.decode(prompt[3:-1]) == "What is this?"


def test_a_question_cannot_contain_special_tokens(config: MoondreamConfig, tokenizer: Tokenizer) -> None:
    question = "<|endoftext|><|special_3|> hi"
    prompt = caption_prompt(config, tokenizer, CaptionTask(max_new_tokens=10, question=question))
    assert min(prompt[3:-1]) >= 10
    assert tokenizer.decode(prompt[3:-1]) == question


def test_a_summary_asks_about_every_description_in_order(config: MoondreamConfig, tokenizer: Tokenizer) -> None:
    ids = summary_prompt(config, tokenizer, ["A dog\nruns.", "It jumps."], 100)
    assert ids[:3] == [1, 310, 2]
    assert "\n1. A dog runs.\n2. It jumps.\nSummarize" in tokenizer.decode(ids)


@pytest.mark.parametrize("max_new_tokens", [1, 100, 700, 1000])
@pytest.mark.parametrize("count", [1, 5, 32, 5000])
def test_a_summary_prompt_always_fits_the_context(
    count: int, max_new_tokens: int, config: MoondreamConfig, tokenizer: Tokenizer
) -> None:
    descriptions = [
        f"Picture {k} " + "shows a very long street with many people. " * (k % 7) * 20 for k in range(count)
    ]
    ids = summary_prompt(config, tokenizer, descriptions, max_new_tokens)
    assert 1 + len(ids) + max_new_tokens <= config.text.max_context
    assert 1 + len(ids) <= MAX_SUMMARY_PROMPT_TOKENS
    assert ids[-1] == 3
    assert "Summarize what happens" in tokenizer.decode(ids)
    assert ids == summary_prompt(config, tokenizer, descriptions, max_new_tokens)


def test_each_of_32_long_descriptions_is_included_in_part(config: MoondreamConfig, tokenizer: Tokenizer) -> None:
    descriptions = [f"word{k} " + "and so on " * 500 for k in range(32)]
    text = tokenizer.decode(summary_prompt(config, tokenizer, descriptions, 100))
    assert all(f"\n{k + 1}. word{k} and" in text for k in range(32))


def test_of_very_many_descriptions_some_are_included_at_a_readable_length(
    config: MoondreamConfig, tokenizer: Tokenizer
) -> None:
    descriptions = [f"moment {k} and so on and on and on and on" for k in range(5000)]
    lines = tokenizer.decode(summary_prompt(config, tokenizer, descriptions, 100)).split("\n")[1:-1]
    included = [int(line.split()[2]) for line in lines]
    assert 20 < len(included) < 100
    assert included == sorted(included)
    assert included[-1] > 4900
    assert all(line.split()[1] == "moment" and "and so" in line for line in lines)


@pytest.mark.parametrize(
    ("lengths", "budget", "shares"),
    [
        ([5, 90, 70], 65, [5, 30, 30]),
        ([5, 6], 100, [5, 6]),
        ([10, 10, 10], 8, [2, 3, 3]),
        ([10, 10], -4, [0, 0]),
        ([], 10, []),
    ],
)
def test_the_longest_are_cut_first_and_equally(lengths: list[int], budget: int, shares: list[int]) -> None:
    assert fair_shares(lengths, budget) == shares


@pytest.mark.parametrize(("count", "chosen"), [(0, ""), (1, "a"), (2, "ac"), (3, "abd"), (5, "abcde"), (9, "abcde")])
def test_of_too_many_texts_an_evenly_spaced_selection_is_taken(count: int, chosen: str) -> None:
    assert evenly_spaced(list("abcde"), count) == list(chosen)


def test_the_tokenizer_of_another_model_is_rejected(small_checkpoint: Path) -> None:
    path = small_checkpoint / "tokenizer.json"
    config = read_config(small_checkpoint / "config.json")
    assert read_tokenizer(path, config).get_vocab_size() == 512
    smaller = config.model_copy(update={"text": config.text.model_copy(update={"vocab_size": 511})})
    with pytest.raises(ModelNotLoaded, match="has 512 tokens, but the model has 511"):
        read_tokenizer(path, smaller)
    # moondream2's templates contain ids up to 32708, which this tokenizer does not have.
    with pytest.raises(ModelNotLoaded, match="has 512 tokens, but the model has 51200"):
        read_tokenizer(path, MoondreamConfig())


@pytest.mark.parametrize("content", ["{}", "no json", None])
def test_a_damaged_tokenizer_is_rejected_with_what_to_do(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ModelNotLoaded, match="cannot be read as a tokenizer.*prism weights fetch"):
        read_tokenizer(path, MoondreamConfig())
