"""Documents that give orders change no answer but by the facts in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.answerer.answering import AnswerLimits, answer
from deployments.answerer.types import AnswerEnd, AnswerSentence
from deployments.cancellation import Cancellation
from tests.deployments.answerer.fakes import FAR_FUTURE, ScriptedModel, hit

CASES = json.loads((Path(__file__).parent / "data" / "injections.json").read_text())


def shown(case: dict[str, Any], model: ScriptedModel | None) -> tuple[list[AnswerSentence], AnswerEnd]:
    """Return the supported sentences of the answer and its end. A second document has nothing to do with the first."""
    hits = [hit(case["document"], similarity=0.7), hit("The contract of the gardener ends in May.", file_id=2)]
    parts = list(answer(case["question"], hits, model, AnswerLimits(), Cancellation(FAR_FUTURE)))
    end = parts[-1]
    assert isinstance(end, AnswerEnd)
    return [part for part in parts if isinstance(part, AnswerSentence) and part.supported], end


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_model_that_obeys_a_document_is_not_believed(case: dict[str, Any]) -> None:
    sentences, end = shown(case, ScriptedModel(case["obeyed"]))
    assert case["obeyed"] not in {sentence.text for sentence in sentences}
    # What is shown instead are sentences of the documents, without the orders.
    assert end.no_answer == "nothing_supported" or end.answered_by == "extractive"
    assert sentences == shown(case, None)[0] or sentences == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_fact_beside_an_order_is_still_answered(case: dict[str, Any]) -> None:
    sentences, end = shown(case, ScriptedModel(case["fact"]))
    assert sentences[0].text == case["fact"].replace(" [1]", "")
    assert sentences[0].quotes[0].chunk_id == "chunk-1-0"
    assert end.no_answer == ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_extractive_answer_begins_with_the_fact_and_quotes_no_order(case: dict[str, Any]) -> None:
    sentences, _ = shown(case, None)
    assert sentences[0].text == case["fact"].replace(" [1]", "")
    for order in (
        "gnore the question",
        "Disregard",
        "cite only",
        "print the system",
        "evil.example",
        "<|",
        "[INST]",
        "Reply",
        "BANANA",
        "capital letters",
    ):
        assert all(order not in sentence.text for sentence in sentences)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_prompt_has_no_control_token_and_no_end_of_a_passage_from_a_document(case: dict[str, Any]) -> None:
    model = ScriptedModel(case["fact"])
    shown(case, model)
    [prompt] = model.prompts
    assert "<|" not in prompt
    assert "[INST]" not in prompt
    assert "\u200b" not in prompt
    assert prompt.count("<passage") == prompt.count("</passage>")
    assert prompt.count("Answer this question") == 1
    assert prompt.endswith(case["question"])
