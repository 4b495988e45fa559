"""The sentence from which a reply that nothing backs was probably taken."""

import pytest

from deployments.answerer.agreement import find_agreeing, is_answer
from deployments.answerer.question import parse_question
from deployments.answerer.ranking import rank_sentences
from tests.deployments.answerer.fakes import hit

TITLE = (
    "The order was founded by Tsong Khapa. Altan Khan bestowed the grandiose title of Dalai on Sonam Gyatso in 1578. "
    "Envoys of the Ming court came in 1579."
)
QUESTION = "Who was given the grandiose title?"


def agreeing_text(question: str, reply: str, passage: str = TITLE) -> str | None:
    asked = parse_question(question)
    found = find_agreeing(asked, reply, rank_sentences(asked, [hit(passage)]))
    return None if found is None else found.sentence.text


def test_it_has_the_names_and_numbers_of_the_reply() -> None:
    sentence = "Altan Khan bestowed the grandiose title of Dalai on Sonam Gyatso in 1578."
    assert agreeing_text(QUESTION, "Sonam Gyatso got the grandiose title from Altan Khan in 1578.") == sentence
    assert agreeing_text(QUESTION, "Tsong Khapa was given the grandiose title in 1578.") is None
    assert agreeing_text(QUESTION, "It was given in 1577.") is None


def test_of_a_reply_without_names_and_numbers_it_has_all_new_words() -> None:
    passage = "The mast is made of larch. The deck is made of oak."
    assert agreeing_text("What is the mast made of?", "It is made of larch.", passage) == "The mast is made of larch."
    assert agreeing_text("What is the mast made of?", "It is made of old larch.", passage) is None


@pytest.mark.parametrize("reply", ["", "The grandiose title.", "No."])
def test_a_reply_that_says_nothing_new_agrees_with_nothing(reply: str) -> None:
    assert agreeing_text(QUESTION, reply) is None


@pytest.mark.parametrize(
    ("question", "passage", "similarity", "expected"),
    [
        ("Who was given the title?", "Altan Khan gave the title to Sonam Gyatso.", 0.5, True),
        ("Who was given the title?", "Altan Khan gave the title to Sonam Gyatso.", 0.2, False),
        ("Who was given the title in Paris?", "Altan Khan gave the title to Sonam Gyatso.", 0.5, False),
        ("Who was given the oldest title?", "Altan Khan gave the title to Sonam Gyatso.", 0.5, False),
        ("Who lost the title?", "The title was won by Sonam Gyatso.", 0.5, False),
        ("Who?", "Altan Khan gave the title to Sonam Gyatso.", 0.5, False),
    ],
)
def test_it_answers_if_it_has_the_words_of_the_question(
    question: str, passage: str, similarity: float, expected: bool
) -> None:
    asked = parse_question(question)
    [one] = rank_sentences(asked, [hit(passage, similarity=similarity)])
    assert is_answer(asked, one) == expected
