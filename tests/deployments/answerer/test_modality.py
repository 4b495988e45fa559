"""Sentences that tell what somebody wants as if it had been done, and those that do not."""

import pytest

from deployments.answerer.check.verdict import check
from deployments.answerer.question import parse_question
from tests.deployments.answerer.fakes import hit


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        (
            "The committee recommended that the bridge be closed.",
            "What happened to the bridge?",
            "The bridge was closed.",
        ),
        (
            "The mayor proposed that the tax be lowered to 4 percent.",
            "To what was the tax lowered?",
            "The tax was lowered to 4 percent.",
        ),
        (
            "The report suggested that the school should be rebuilt in 2030.",
            "When is the school rebuilt?",
            "The school is rebuilt in 2030.",
        ),
        ("The court ordered that the firm be dissolved.", "What happened to the firm?", "The firm was dissolved."),
        ("Residents demanded that the road be repaired.", "What was repaired?", "The road was repaired."),
        (
            "The doctor recommended closing the clinic in May.",
            "When did the clinic close?",
            "The clinic closed in May.",
        ),
        ("The roof should be repaired in spring.", "When is the roof repaired?", "The roof is repaired in spring."),
        (
            "The engineers urged the city to replace the pipes.",
            "What did the city replace?",
            "The city replaced the pipes.",
        ),
        ("The board asked the director to resign.", "What did the director do?", "The director resigned."),
        (
            "In 1911 a commission advised that the harbour be deepened to nine metres.",
            "How deep is the harbour?",
            "The harbour was deepened to nine metres in 1911.",
        ),
        ("The union called on the ministry to raise wages.", "What did the ministry do?", "The ministry raised wages."),
        (
            "Critics demanded the resignation of the minister.",
            "What happened to the minister?",
            "The minister resigned.",
        ),
        ("The queen invited Haydn to play at the palace.", "Where did Haydn play?", "Haydn played at the palace."),
    ],
)
def test_what_somebody_wants_is_not_backed_as_a_fact(passage: str, question: str, claim: str) -> None:
    verdict = check(claim, [hit(passage)], parse_question(question))
    assert not verdict.supported


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        (
            "The committee recommended that the bridge be closed.",
            "What did the committee recommend?",
            "The committee recommended that the bridge be closed.",
        ),
        (
            "The mayor proposed that the tax be lowered to 4 percent.",
            "What did the mayor propose?",
            "The mayor proposed to lower the tax to 4 percent.",
        ),
        (
            "The committee, which recommended that the bridge be closed, has nine members.",
            "How many members has the committee?",
            "The committee has nine members.",
        ),
        (
            "The bridge was closed in May, as the committee had recommended.",
            "When was the bridge closed?",
            "The bridge was closed in May.",
        ),
        (
            "The study suggests that the disease is caused by a virus.",
            "What causes the disease?",
            "The disease is caused by a virus.",
        ),
        (
            "The roof should be repaired in spring.",
            "When should the roof be repaired?",
            "The roof should be repaired in spring.",
        ),
        (
            "The court ordered that the firm be dissolved.",
            "Who ordered that the firm be dissolved?",
            "The court ordered that the firm be dissolved.",
        ),
        (
            "The firm was dissolved in 2003 because the court had ordered it.",
            "When was the firm dissolved?",
            "The firm was dissolved in 2003.",
        ),
        (
            "The recommended dose is 20 mg a day.",
            "What is the recommended dose?",
            "The recommended dose is 20 mg a day.",
        ),
        (
            "The king ordered that a wall be built, and it was finished in 1212.",
            "When was the wall finished?",
            "The wall was finished in 1212.",
        ),
        (
            "Rossi asked the painter Lena Roth to teach his son, and she taught him for ten years.",
            "How long did Lena Roth teach his son?",
            "Lena Roth taught his son for ten years.",
        ),
        (
            "The law requires that drivers be at least 18 years old.",
            "How old must drivers be?",
            "Drivers must be at least 18 years old.",
        ),
        (
            "The order was founded by Saint Bruno to pray in silence.",
            "Who founded the order?",
            "The order was founded by Saint Bruno.",
        ),
        (
            "The study suggests that the disease is not caused by a virus.",
            "What does not cause the disease?",
            "The disease is not caused by a virus.",
        ),
        ("The board met in May and closed the clinic.", "When did the board meet?", "The board met in May."),
    ],
)
def test_what_is_said_like_this_still_backs_a_sentence(passage: str, question: str, claim: str) -> None:
    assert check(claim, [hit(passage)], parse_question(question)).supported
