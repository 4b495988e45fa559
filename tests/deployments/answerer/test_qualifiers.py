"""Sentences that share all their words with a passage and yet say something else, and those that say the same."""

from collections.abc import Iterator

import pytest

from deployments.answerer.answering import AnswerLimits, answer
from deployments.answerer.check.verdict import check
from deployments.answerer.question import parse_question
from deployments.answerer.types import AnswerSentence
from deployments.cancellation import Cancellation
from tests.deployments.answerer.fakes import FAR_FUTURE, ScriptedModel, hit

HOTEL = "The hotel near the harbour costs 90 euros a night. Breakfast is served from seven to ten."
BATTERY = "The battery lasts 12 hours. The charger weighs 300 grams."
MUSEUM = "Clara Weiss founded the museum in 1874. It was rebuilt by Otto Braun in 1950."
SHIP = "The ship left port on Monday and arrived on Friday."
MARIE = "Marie was born in Warsaw and died in Passy."
TEAMS = "Lena Krause leads the design team; Tom Baker leads the sales team."
BICYCLES = "In Spain the company sold 1200 bicycles, in France 3400 bicycles."
PROFIT = "Profit fell by 4.5 percent in 2022 and rose by 7 percent in 2023."
INVOICES = "The invoice 2044 is unpaid. The invoice 2045 is paid."
COUNCIL = "The council approved the budget but rejected the tax."
PATIENT = "The patient takes ibuprofen. He is allergic to penicillin."


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        # What one sentence says, of the subject of the other one.
        (HOTEL, "How much does breakfast cost?", "Breakfast costs 90 euros a night."),
        (BATTERY, "How much does the battery weigh?", "The battery weighs 300 grams."),
        (BATTERY, "How long does the charger last?", "The charger lasts 12 hours."),
        (
            "The red car is fast. The blue car costs 5000 dollars.",
            "What does the red car cost?",
            "The red car costs 5000 dollars.",
        ),
        ("The north gate is closed. The south gate is open.", "Which gate is open?", "The north gate is open."),
        (
            "The cat sleeps on the sofa. The dog sleeps in the kitchen.",
            "Where does the cat sleep?",
            "The cat sleeps in the kitchen.",
        ),
        ("The pump is in the cellar. The switch is red.", "Where is the switch?", "The switch is in the cellar."),
        (MUSEUM, "Who founded the museum?", "Otto Braun founded the museum."),
        # What one clause says, of the subject of the other one.
        (SHIP, "When did the ship arrive?", "The ship arrived on Monday."),
        (SHIP, "When did the ship leave?", "The ship left port on Friday."),
        (MARIE, "Where did Marie die?", "Marie died in Warsaw."),
        (TEAMS, "Who leads the sales team?", "Lena Krause leads the sales team."),
        (BICYCLES, "How many in Spain?", "In Spain the company sold 3400 bicycles."),
        (PROFIT, "How much did profit rise in 2023?", "Profit rose by 4.5 percent in 2023."),
        (
            "Paris has 2.1 million inhabitants, Lyon has 0.5 million.",
            "How many has Lyon?",
            "Lyon has 2.1 million inhabitants.",
        ),
        ("The left lamp is green, the right lamp is red.", "Which lamp is red?", "The left lamp is red."),
        (
            "Tickets cost 12 euros for adults and 6 euros for children.",
            "What do tickets for children cost?",
            "Tickets for children cost 12 euros.",
        ),
        # Bounds, quantifiers, order in time.
        ("At least 40 people attended.", "How many people attended?", "At most 40 people attended."),
        ("Up to 40 people attended.", "How many people attended?", "40 people attended."),
        ("It costs 20 euros more than the old one.", "What does it cost?", "It costs 20 euros."),
        ("Some members voted for the plan.", "Who voted?", "All members voted for the plan."),
        ("The museum opens before 9.", "When does the museum open?", "The museum opens after 9."),
        (
            "The law was signed before the election.",
            "When was the law signed?",
            "The law was signed after the election.",
        ),
        ("The temperature fell to -5 degrees.", "What was the temperature?", "The temperature fell to 5 degrees."),
        # No fact, or the contrary.
        ("The vaccine may reduce the risk.", "What does the vaccine do?", "The vaccine reduces the risk."),
        ("The flight was supposed to leave at 8:15.", "When did the flight leave?", "The flight left at 8:15."),
        ("The patient stopped smoking.", "Does the patient smoke?", "The patient is smoking."),
        (
            "The company denied that it had sold the data.",
            "Did the company sell the data?",
            "The company sold the data.",
        ),
        ("The company refused to pay the fine.", "Did the company pay the fine?", "The company paid the fine."),
        ("It is false that the bridge was closed.", "Was the bridge closed?", "The bridge was closed."),
        ("Unlike Kiel, Rostock has a tram.", "Does Kiel have a tram?", "Kiel has a tram."),
        ("Everyone except Carla voted for the plan.", "Who voted?", "Carla voted for the plan."),
        ("Der Vertrag wurde nicht verlängert.", "Wurde der Vertrag verlängert?", "Der Vertrag wurde verlängert."),
        ("Le contrat n'a pas été prolongé.", "Le contrat a-t-il été prolongé ?", "Le contrat a été prolongé."),
        # Somebody else.
        ("John's father is a doctor.", "What is John?", "John is a doctor."),
        ("Bob was hired by Alice.", "Who hired whom?", "Bob hired Alice."),
        (
            "Ernst praised the plot, though Anna criticized its end.",
            "Who criticized Anna?",
            "Anna criticized Anna for its end.",
        ),
        # Both of two sentences, objects, comparisons.
        ("Room 12 is for groups. Room 14 is for families.", "Which room is for families?", "Room 12 is for families."),
        ("Mr. Hall is the chair. Mrs. Stone is the treasurer.", "Who is the treasurer?", "Mr. Hall is the treasurer."),
        (INVOICES, "Is invoice 2044 paid?", "Invoice 2044 is paid."),
        (COUNCIL, "What did the council reject?", "The council rejected the budget."),
        (PATIENT, "What is the patient allergic to?", "The patient is allergic to ibuprofen."),
        (
            "The warranty covers the engine. The tyres are not covered.",
            "Are the tyres covered?",
            "The warranty covers the tyres.",
        ),
        (
            "Water boils at 100 degrees and freezes at 0 degrees.",
            "When does water freeze?",
            "Water freezes at 100 degrees.",
        ),
        ("Iron is heavier than aluminium.", "Which is heavier?", "Aluminium is heavier than iron."),
        # A question says nothing.
        ("When was the museum founded in 1955?", "When was the museum founded?", "The museum was founded in 1955."),
    ],
)
def test_the_same_words_that_say_something_else_do_not_back_a_sentence(passage: str, question: str, claim: str) -> None:
    assert not check(claim, [hit(passage)], parse_question(question)).supported


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        (HOTEL, "How much does the hotel cost?", "The hotel costs 90 euros a night."),
        (BATTERY, "How much does the charger weigh?", "The charger weighs 300 grams."),
        (
            "The battery lasts 12 hours. It weighs 300 grams.",
            "How much does the battery weigh?",
            "The battery weighs 300 grams.",
        ),
        (MUSEUM, "Who rebuilt the museum?", "The museum was rebuilt by Otto Braun."),
        (SHIP, "When did the ship arrive?", "The ship arrived on Friday."),
        (MARIE, "Where did Marie die?", "Marie died in Passy."),
        (TEAMS, "Who leads the sales team?", "Tom Baker leads the sales team."),
        (BICYCLES, "How many in France?", "The company sold 3400 bicycles in France."),
        (PROFIT, "How much did profit rise in 2023?", "Profit rose by 7 percent in 2023."),
        ("The left lamp is green, the right lamp is red.", "Which lamp is red?", "The right lamp is red."),
        ("Room 12 is for groups. Room 14 is for families.", "Which room is for families?", "Room 14 is for families."),
        (COUNCIL, "What did the council reject?", "The council rejected the tax."),
        (PATIENT, "What is the patient allergic to?", "The patient is allergic to penicillin."),
        ("Iron is heavier than aluminium.", "Which is heavier?", "Iron is heavier than aluminium."),
        ("At least 40 people attended.", "How many people attended?", "At least 40 people attended."),
        ("All members of the board agreed.", "Who agreed?", "All members of the board agreed."),
        (
            "The temperature fell to minus 5 degrees.",
            "What was the temperature?",
            "The temperature fell to -5 degrees.",
        ),
        ("The vaccine may reduce the risk.", "What may it do?", "The vaccine may reduce the risk."),
        ("The company refused to pay the fine.", "What did it do?", "The company refused to pay the fine."),
        ("Der Vertrag wurde nicht verlängert.", "Wurde der Vertrag verlängert?", "Der Vertrag wurde nicht verlängert."),
        ("John's father is a doctor.", "What is John's father?", "John's father is a doctor."),
        ("Bob was hired by Alice.", "Who hired Bob?", "Alice hired Bob."),
        (
            "Novix was founded by Bill Gates and Paul Allen on April 4, 1975.",
            "When was Novix founded?",
            "Novix was founded on April 4, 1975.",
        ),
        ("Where is the office? It is in Leeds.", "Where is the office?", "The office is in Leeds."),
    ],
)
def test_the_same_words_that_say_the_same_back_a_sentence(passage: str, question: str, claim: str) -> None:
    assert check(claim, [hit(passage)], parse_question(question)).supported


def test_questions_of_documents_are_not_quoted() -> None:
    passage = hit("When was the museum of Erla founded? The museum of Erla was founded in 1874.")
    for model in (None, ScriptedModel("The museum of Erla was founded in 1874.")):
        parts = answer(
            "When was the museum of Erla founded?", [passage], model, AnswerLimits(), Cancellation(FAR_FUTURE)
        )
        texts = [part.text for part in parts if isinstance(part, AnswerSentence)]
        assert texts == ["The museum of Erla was founded in 1874."]


def test_how_long_and_how_hot_need_not_stand_in_the_answer() -> None:
    passage = hit("The dough rests for 12 hours. The oven is heated to 240 degrees.", similarity=0.2)
    for question in ("How long does the dough rest?", "How hot is the oven heated?"):
        parts = list(answer(question, [passage], None, AnswerLimits(), Cancellation(FAR_FUTURE)))
        assert isinstance(parts[0], AnswerSentence), question


class _LetterByLetter(ScriptedModel):
    def complete(self, system: str, prompt: str, max_tokens: int, cancellation: Cancellation) -> Iterator[str]:
        yield from "Der Vertrag endet am 31. Dezember 2027. Die Miete beträgt 850 Euro."


def test_a_german_date_that_arrives_letter_by_letter_stays_in_its_sentence() -> None:
    passage = hit("Der Vertrag endet am 31. Dezember 2027. Die Miete beträgt 850 Euro.")
    model = _LetterByLetter("")
    question = "Wann endet der Vertrag und wie hoch ist die Miete?"
    parts = list(answer(question, [passage], model, AnswerLimits(), Cancellation(FAR_FUTURE)))
    said = [part.text for part in parts if isinstance(part, AnswerSentence)]
    assert said == ["Der Vertrag endet am 31. Dezember 2027.", "Die Miete beträgt 850 Euro."]
