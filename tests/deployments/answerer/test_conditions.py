"""Sentences that leave out the condition under which a passage says them, and those that do not."""

import pytest

from deployments.answerer.check.verdict import check
from deployments.answerer.question import parse_question
from tests.deployments.answerer.fakes import hit


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        ("The bridge is closed if the wind exceeds 90 km an hour.", "Is the bridge closed?", "The bridge is closed."),
        (
            "If it rains, the concert takes place in the church.",
            "Where does the concert take place?",
            "The concert takes place in the church.",
        ),
        (
            "Dogs are allowed in the park only on a leash.",
            "Are dogs allowed in the park?",
            "Dogs are allowed in the park.",
        ),
        (
            "The deposit is returned only if the keys are handed back.",
            "Is the deposit returned?",
            "The deposit is returned.",
        ),
        (
            "Members vote on the budget unless the board objects.",
            "Who votes on the budget?",
            "Members vote on the budget.",
        ),
        ("The refund is paid provided that the ticket was not used.", "What is paid?", "The refund is paid."),
        ("The alarm sounds only when both doors are open.", "What sounds?", "The alarm sounds."),
        ("Children may enter as long as they are with an adult.", "Who may enter?", "Children may enter."),
        (
            "Der Vertrag verlängert sich um ein Jahr, wenn er nicht gekündigt wird.",
            "Um wie lange verlängert sich der Vertrag?",
            "Der Vertrag verlängert sich um ein Jahr.",
        ),
        (
            "Employees get a bonus of 500 euros if they work on Sundays.",
            "How much is the bonus?",
            "Employees get a bonus of 500 euros.",
        ),
        (
            "Unless a quorum is present, the meeting is adjourned to the next Monday.",
            "To when is the meeting adjourned?",
            "The meeting is adjourned to the next Monday.",
        ),
        (
            "A fee of 30 dollars is charged in case the book is returned late.",
            "How much is the fee?",
            "A fee of 30 dollars is charged.",
        ),
        (
            "The grant covers travel, but only if the applicant lives outside the city.",
            "What does the grant cover?",
            "The grant covers travel.",
        ),
        (
            "Visitors can park behind the hall only after six.",
            "Where can visitors park?",
            "Visitors can park behind the hall.",
        ),
        (
            "He would have won the race if his horse had not fallen in the last lap.",
            "What did he win?",
            "He won the race.",
        ),
    ],
)
def test_a_sentence_without_its_condition_is_not_backed(passage: str, question: str, claim: str) -> None:
    verdict = check(claim, [hit(passage)], parse_question(question))
    assert not verdict.supported


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        (
            "The bridge is closed if the wind exceeds 90 km an hour.",
            "When is the bridge closed?",
            "The bridge is closed if the wind exceeds 90 km an hour.",
        ),
        (
            "If it rains, the concert takes place in the church.",
            "Where does the concert take place if it rains?",
            "The concert takes place in the church.",
        ),
        (
            "Dogs are allowed in the park only on a leash.",
            "Are dogs allowed in the park?",
            "Dogs are allowed in the park only on a leash.",
        ),
        (
            "Dogs are allowed in the park only on a leash.",
            "How are dogs allowed in the park?",
            "Dogs are allowed on a leash.",
        ),
        (
            "The witness did not know if the door was locked, but the window was open.",
            "What was open?",
            "The window was open.",
        ),
        (
            "The museum has many, if not most, of his paintings.",
            "What does the museum have?",
            "The museum has many of his paintings.",
        ),
        (
            "Even if it rains, the concert takes place in the park.",
            "Where does the concert take place?",
            "The concert takes place in the park.",
        ),
        (
            "Not only in Berlin, but also in Kiel the firm has an office.",
            "Where does the firm have an office?",
            "The firm has an office in Kiel.",
        ),
        (
            "The deposit is 200 euros; it is kept if the keys are lost.",
            "How much is the deposit?",
            "The deposit is 200 euros.",
        ),
        (
            "Employees get a bonus of 500 euros if they work on Sundays.",
            "How much is the bonus for work on Sundays?",
            "The bonus for employees who work on Sundays is 500 euros.",
        ),
        (
            "The firm has only two offices in Leeds.",
            "How many offices has the firm in Leeds?",
            "The firm has two offices in Leeds.",
        ),
        (
            "The house was built in 1901, and it will be sold if a buyer is found.",
            "When was the house built?",
            "The house was built in 1901.",
        ),
        ("The pump starts when the water reaches the red mark.", "What starts?", "The pump starts."),
        (
            "She asked him if the train from Graz had arrived.",
            "What did she ask?",
            "She asked him if the train from Graz had arrived.",
        ),
        (
            "The castle was built in 1340 by Duke Albert; if it is open, visitors can climb the tower.",
            "Who built the castle?",
            "The castle was built by Duke Albert in 1340.",
        ),
        (
            "The school, the only one in the valley, was founded in 1888.",
            "When was the school founded?",
            "The school was founded in 1888.",
        ),
        (
            "The film was released only in Japan in 1998.",
            "When was the film released in Japan?",
            "The film was released in Japan in 1998.",
        ),
        (
            "The insurer pays up to 2000 euros if the bicycle was locked.",
            "How much does the insurer pay if the bicycle was locked?",
            "The insurer pays up to 2000 euros.",
        ),
        ("It is unclear if Homer wrote both poems, but the Iliad is older.", "Which is older?", "The Iliad is older."),
    ],
)
def test_what_is_said_like_this_still_backs_a_sentence(passage: str, question: str, claim: str) -> None:
    assert check(claim, [hit(passage)], parse_question(question)).supported
