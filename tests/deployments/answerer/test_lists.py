"""Sentences that join words of different items of a list, and those that do not."""

import pytest

from deployments.answerer.check.verdict import check
from deployments.answerer.question import parse_question
from tests.deployments.answerer.fakes import hit


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        (
            "Lena Krause leads the design team and Tom Baker the sales team.",
            "Who leads the sales team?",
            "Lena Krause leads the sales team.",
        ),
        (
            "Anna Holt painted the door, and Ben Cole the window.",
            "Who painted the window?",
            "Anna Holt painted the window.",
        ),
        (
            "Paris has 2.1 million inhabitants, Lyon 0.5 million.",
            "How many inhabitants has Paris?",
            "Paris has 0.5 million inhabitants.",
        ),
        (
            "Ruth Adler plays the piano, Karl Amsel the violin and Otto Fink the flute.",
            "Who plays the flute?",
            "Ruth Adler plays the flute.",
        ),
        (
            "Ruth Adler plays the piano, Karl Amsel the violin and Otto Fink the flute.",
            "What does Karl Amsel play?",
            "Karl Amsel plays the piano.",
        ),
        ("Kiel won the cup in 2010, Rostock in 2014.", "When did Kiel win the cup?", "Kiel won the cup in 2014."),
        ("Kiel won the cup in 2010, Rostock in 2014.", "When did Rostock win the cup?", "Rostock won the cup in 2010."),
        (
            "Mara Holt studied law in Graz and Lena Berg medicine in Linz.",
            "What did Mara Holt study?",
            "Mara Holt studied medicine.",
        ),
        (
            "The first edition has 200 pages, the second 350.",
            "How many pages does the second edition have?",
            "The second edition has 200 pages.",
        ),
        (
            "The board consists of Anna Holt (chair), Ben Cole (treasurer) and Clara Diaz (secretary).",
            "Who is the treasurer?",
            "Anna Holt is the treasurer.",
        ),
        (
            "The board consists of Anna Holt (chair), Ben Cole (treasurer) and Clara Diaz (secretary).",
            "Who is the chair?",
            "Ben Cole is the chair.",
        ),
        (
            "Chair: Anna Holt; treasurer: Ben Cole; secretary: Clara Diaz.",
            "Who is the treasurer?",
            "Anna Holt is the treasurer.",
        ),
        ("Chair: Anna Holt\nTreasurer: Ben Cole\nSecretary: Clara Diaz", "Who is the chair?", "Ben Cole is the chair."),
        (
            "Present were Anna Holt, the chair, Ben Cole, the treasurer, and Clara Diaz, the secretary.",
            "Who is the chair?",
            "Ben Cole is the chair.",
        ),
        (
            "Present were Anna Holt, the chair, Ben Cole, the treasurer, and Clara Diaz, the secretary.",
            "Who is the secretary?",
            "Ben Cole is the secretary.",
        ),
        (
            "The members elected Anna Holt as chair, Ben Cole as treasurer and Clara Diaz as secretary.",
            "Who was elected treasurer?",
            "Anna Holt was elected treasurer.",
        ),
        (
            "It is led by chair Anna Holt, treasurer Ben Cole and secretary Clara Diaz.",
            "Who is the secretary?",
            "Anna Holt is the secretary.",
        ),
        (
            "It is led by chair Anna Holt, treasurer Ben Cole and secretary Clara Diaz.",
            "Who is the chair?",
            "Ben Cole is the chair.",
        ),
        (
            "Ines Duarte keeps the keys and Victor Grau the stamps.",
            "Who keeps the stamps?",
            "Ines Duarte keeps the stamps.",
        ),
        (
            "Minister of finance: Jan Kos; minister of justice: Eva Lind.",
            "Who is the minister of finance?",
            "Eva Lind is the minister of finance.",
        ),
        (
            "The crew were Ida Moen, the captain, Per Aas, the cook, and Tor Vik, the mate.",
            "Who was the cook?",
            "Ida Moen was the cook.",
        ),
        ("The cast includes Jude Ray as Otto and Mia Poe as Clara.", "Who plays Otto?", "Mia Poe plays Otto."),
        (
            "The singer Mia Poe, the daughter of the mayor, married the actor Jude Ray, the son of a baker.",
            "Who is the daughter of the mayor?",
            "Jude Ray is the daughter of the mayor.",
        ),
    ],
)
def test_words_of_different_items_do_not_back_a_sentence_together(passage: str, question: str, claim: str) -> None:
    verdict = check(claim, [hit(passage)], parse_question(question))
    assert not verdict.supported


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        (
            "Lena Krause leads the design team and Tom Baker the sales team.",
            "Who leads the design team?",
            "Lena Krause leads the design team.",
        ),
        ("Kiel won the cup in 2010, Rostock in 2014.", "When did Kiel win the cup?", "Kiel won the cup in 2010."),
        (
            "The board consists of Anna Holt (chair), Ben Cole (treasurer) and Clara Diaz (secretary).",
            "Who is the treasurer?",
            "Ben Cole is the treasurer.",
        ),
        (
            "The board consists of Anna Holt (chair), Ben Cole (treasurer) and Clara Diaz (secretary).",
            "Who is the chair?",
            "Anna Holt is the chair of the board.",
        ),
        (
            "Present were Anna Holt, the chair, Ben Cole, the treasurer, and Clara Diaz, the secretary.",
            "Who is the chair?",
            "Anna Holt is the chair.",
        ),
        (
            "Present were Anna Holt, the chair, Ben Cole, the treasurer, and Clara Diaz, the secretary.",
            "Who is the secretary?",
            "Clara Diaz is the secretary.",
        ),
        (
            "The members elected Anna Holt as chair, Ben Cole as treasurer and Clara Diaz as secretary.",
            "Who was elected treasurer?",
            "Ben Cole was elected as treasurer.",
        ),
        (
            "It is led by chair Anna Holt, treasurer Ben Cole and secretary Clara Diaz.",
            "Who is the secretary?",
            "Clara Diaz is the secretary.",
        ),
        (
            "The board consists of Anna Holt (chair), Ben Cole (treasurer) and Clara Diaz (secretary).",
            "Who is on the board?",
            "Anna Holt, Ben Cole and Clara Diaz are on the board.",
        ),
        (
            "The board consists of Anna Holt (chair), Ben Cole (treasurer) and Clara Diaz (secretary).",
            "Who is on the board?",
            "The board consists of Anna Holt (chair), Ben Cole (treasurer) and Clara Diaz (secretary).",
        ),
        ("Oslo lies on a fjord, Bern on a river.", "Where does Oslo lie?", "Oslo lies on a fjord."),
        ("In the final Mara Holt beat Lena Berg and won the cup.", "Who won the cup?", "Mara Holt won the cup."),
        (
            "The cast includes Jude Ray as Otto and Mia Poe as Clara.",
            "Who does Jude Ray play?",
            "The cast includes Jude Ray as Otto.",
        ),
        (
            "Ida Moen, the captain, and Per Aas, the cook, left the ship in Oslo.",
            "Who left the ship in Oslo?",
            "Ida Moen and Per Aas left the ship in Oslo.",
        ),
        (
            "Ida Moen, the captain, and Per Aas, the cook, left the ship in Oslo.",
            "Who was the captain?",
            "Ida Moen was the captain.",
        ),
        (
            "The singer Mia Poe, the daughter of the mayor, married the actor Jude Ray, the son of a baker.",
            "Whom did Mia Poe marry?",
            "Mia Poe married the actor Jude Ray.",
        ),
        ("He visited Paris, toured Rome and settled in Oslo.", "Where did he settle?", "He settled in Oslo."),
        (
            "Anna Holt joined Novix as engineer in 1990, succeeded Ben Cole as director in 2001 and retired in 2015.",
            "What did Anna Holt become in 2001?",
            "Anna Holt succeeded Ben Cole as director in 2001.",
        ),
        (
            "Anna Holt joined Novix as engineer in 1990, succeeded Ben Cole as director in 2001 and retired in 2015.",
            "When did Anna Holt join Novix?",
            "Anna Holt joined Novix as engineer in 1990.",
        ),
    ],
)
def test_what_is_said_like_this_still_backs_a_sentence(passage: str, question: str, claim: str) -> None:
    assert check(claim, [hit(passage)], parse_question(question)).supported
