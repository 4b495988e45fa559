"""Whether passages say what a sentence says."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from deployments.answerer.check.contradictions import contradictions
from deployments.answerer.check.verdict import check
from deployments.answerer.question import parse_question
from tests.deployments.answerer.fakes import hit

TOPICS = json.loads((Path(__file__).parent / "data" / "check_cases.json").read_text())
SHIP = (
    "The ferry Aurora left Kiel on 3 May 1962 with 240 passengers. "
    "She sank in a storm near Gotland, and 17 people died."
)


def measure(part: str) -> tuple[float, float, dict[str, list[bool]]]:
    """Return precision and recall of "supported", and for each kind of claim which verdicts are right."""
    right: dict[str, list[bool]] = defaultdict(list)
    true_positives = false_positives = false_negatives = 0
    for topic in TOPICS:
        if topic["part"] != part:
            continue
        for claim in topic["claims"]:
            supported = check(claim["claim"], [hit(topic["passage"])]).supported
            right[claim["kind"]].append(supported == claim["supported"])
            true_positives += supported and claim["supported"]
            false_positives += supported and not claim["supported"]
            false_negatives += not supported and claim["supported"]
    return (
        true_positives / (true_positives + false_positives),
        true_positives / (true_positives + false_negatives),
        right,
    )


@pytest.mark.parametrize(("part", "precision", "recall"), [("development", 0.99, 0.96), ("held back", 0.93, 0.85)])
def test_precision_and_recall_do_not_fall_below_the_published_ones(part: str, precision: float, recall: float) -> None:
    measured_precision, measured_recall, right = measure(part)
    assert {kind: len(some) >= 8 for kind, some in right.items()} == dict.fromkeys(right, True)
    assert measured_precision >= precision
    assert measured_recall >= recall


def test_the_quote_is_the_sentence_that_says_it() -> None:
    passage = hit(SHIP)
    verdict = check(
        "17 people died when she sank near Gotland.", [hit("The harbour of Kiel is old.", file_id=2), passage]
    )
    [quote] = verdict.quotes
    assert quote.chunk_id == passage.chunk.chunk_id
    assert SHIP[quote.start : quote.end] == "She sank in a storm near Gotland, and 17 people died."


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ("The ferry Aurora left Kiel with 420 passengers.", "number"),
        ("The ferry Aurora left Kiel on 3 June 1962.", "name"),
        ("The ferry Borealis left Kiel on 3 May 1962.", "name"),
        ("The ferry Aurora never left Kiel.", "negation"),
        ("The ferry Aurora left Kiel with 240 passengers and 60 cars.", "number"),
        ("The ferry Aurora left Kiel with 240 hopeful passengers.", "words"),
    ],
)
def test_the_verdict_says_what_is_missing(claim: str, problem: str) -> None:
    verdict = check(claim, [hit(SHIP)])
    assert not verdict.supported
    assert verdict.problem == problem
    assert len(verdict.quotes) <= 1


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        ("The mast is 12 m high.", "The mast is twelve metres high."),
        ("They paid $1,500,000 for it.", "They paid 1.5 million dollars for it."),
        ("Half of them, 50 %, came back.", "50 percent of them came back."),
        ("It took place on the 2nd of April.", "It took place on the second of April."),
        ("The United Nations was founded in 1945.", "The UN was founded in 1945."),
        ("Beyoncé's album sold well.", "The album of Beyonce sold well."),
        ("The engine isn't cooled by water.", "The engine is not cooled by water."),
        ("A litre costs 1.50 euros.", "A litre costs 1.5 euros."),
        ("The fine is 1.500 euros.", "The fine is 1.500 euros."),
        ("Ein Liter kostet 2,50 Euro.", "Ein Liter kostet 2.50 Euro."),
        ("Die Strecke ist 1.234,5 km lang.", "Die Strecke ist 1234.5 km lang."),
    ],
)
def test_numbers_names_and_negations_may_be_written_in_another_way(passage: str, claim: str) -> None:
    assert check(claim, [hit(passage)]).supported


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        # "1.500" is one and a half or fifteen hundred: only whoever wrote it knows.
        ("The fine is 1.500 euros.", "The fine is 1.5 euros."),
        ("The fine is 1.500 euros.", "The fine is 1500 euros."),
        ("The fine is 1.5 euros.", "The fine is 1.500 euros."),
        ("The fine is 1,500 euros.", "The fine is 1.5 euros."),
        ("Ein Liter kostet 2,50 Euro.", "Ein Liter kostet 50 Euro."),
        ("Die Strecke ist 1,5 km lang.", "Die Strecke ist 5 km lang."),
        ("Die Strecke ist 1.234,5 km lang.", "Die Strecke ist 5 km lang."),
        ("Das Dorf hat 37.000 Einwohner.", "Das Dorf hat 37 Einwohner."),
    ],
)
def test_numbers_that_may_be_others_do_not_back_a_sentence(passage: str, claim: str) -> None:
    assert not check(claim, [hit(passage)]).supported


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        ("Next meeting on 18 March at ten.", "The next meeting is on 18 March at ten."),
        ("The launch moves from 1 April to 15 April.", "The launch was moved from 1 April to 15 April."),
        ("The fair runs from 3 May to 7 May 2024.", "The fair ran from 3 May 2024 to 7 May 2024."),
    ],
)
def test_times_beside_a_date_and_ranges_of_dates_are_backed(passage: str, claim: str) -> None:
    assert check(claim, [hit(passage)]).supported


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        ("The launch moves from 1 April to 15 April.", "The launch moves from 15 April to 1 April."),
        ("The fair runs from 3 May to 7 May.", "The fair runs from 7 May."),
        ("The shop is open from nine to five.", "The shop is open from five to nine."),
        ("Next meeting on 18 March at ten.", "The next meeting is on 10 March at ten."),
    ],
)
def test_a_range_the_other_way_round_is_not_backed(passage: str, claim: str) -> None:
    assert not check(claim, [hit(passage)]).supported


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        ("Heating is included.", "Is heating included?", "Yes, heating is included."),
        ("Heating is not included.", "Is heating included?", "No, heating is not included."),
        ("The fair is in May.", "Is the fair in June?", "No, the fair is in May."),
        ("Pets are not allowed.", "Are pets not allowed?", "Yes, pets are not allowed."),
    ],
)
def test_yes_and_no_before_a_backed_sentence_are_backed(passage: str, question: str, claim: str) -> None:
    assert check(claim, [hit(passage)], parse_question(question)).supported


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [
        ("Heating is included.", "Is heating included?", "No, heating is included."),
        ("Heating is not included.", "Is heating included?", "Yes, heating is not included."),
        ("Heating is not included.", "Is heating included?", "Yes, heating is included."),
        ("Heating is included.", "Is heating included?", "No, heating is not included."),
        ("The fair is in May.", "Is the fair in May?", "No, the fair is in May."),
    ],
)
def test_yes_and_no_that_do_not_fit_the_sentence_are_not_backed(passage: str, question: str, claim: str) -> None:
    assert not check(claim, [hit(passage)], parse_question(question)).supported


def test_a_sentence_may_name_the_document() -> None:
    lease = hit("Heating is included.", filename="lease of the flat.txt")
    assert check("Heating is included in the lease.", [lease]).supported
    assert not check("Heating is included in the price.", [lease]).supported
    assert not check("The lease is included.", [lease]).supported


def test_words_scattered_over_a_passage_do_not_back_a_sentence() -> None:
    passage = (
        "The opera was written by Rossi. It rained a lot that year. The bridge was opened in 1871. Nobody was hurt. "
        "The mayor gave a speech in Latin."
    )
    assert not check("The opera was opened in 1871 by the mayor.", [hit(passage)]).supported
    assert not check("Rossi gave a speech in Latin.", [hit(passage)]).supported


def test_words_of_two_passages_do_not_back_a_sentence_together() -> None:
    passages = [hit("Lena Roth was born in Graz.", file_id=1), hit("The painter lived in Lyon from 1901.", file_id=2)]
    assert not check("Lena Roth lived in Lyon from 1901.", passages).supported


def test_several_sources_of_a_sentence_are_all_quoted() -> None:
    passages = [hit("The mill burned down in 1902.", file_id=1), hit("In 1902 the mill burned down.", file_id=2)]
    verdict = check("The mill burned down in 1902.", passages)
    assert {quote.chunk_id for quote in verdict.quotes} == {"chunk-1-0", "chunk-2-0"}


def test_a_name_of_the_question_may_stand_in_a_sentence_before_or_in_the_title() -> None:
    question = parse_question("When did Ada Holm leave Bergen?")
    claim = "Ada Holm left Bergen in 1931."
    assert check(claim, [hit("Ada Holm was a teacher in Bergen. She left the town in 1931.")], question).supported
    assert check(claim, [hit("She left Bergen in 1931.", filename="Ada Holm.txt")], question).supported
    assert not check(claim, [hit("She left Bergen in 1931.")], question).supported


def test_a_sentence_about_somebody_else_does_not_back_a_name_of_the_question() -> None:
    question = parse_question("When did Ada Holm leave Bergen?")
    passage = hit("Ada Holm was a teacher in Bergen. Nils Berg left Bergen in 1931.")
    assert not check("Ada Holm left Bergen in 1931.", [passage], question).supported


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        ("The Harlem River separates Manhattan from the Bronx.", "The Bronx River separates Manhattan from the Bronx."),
        ("Twilight has a score of 95. Trailers Weekly praised it.", "Trailers Weekly has a score of 95."),
        ("The Nordbank was attacked by thieves who stole the files.", "The Nordbank stole the files."),
        ("Mara Holt beat Lena Berg in the final.", "Lena Berg beat Mara Holt in the final."),
    ],
)
def test_the_same_words_put_together_in_another_way_do_not_back_a_sentence(passage: str, claim: str) -> None:
    assert not check(claim, [hit(passage)]).supported


def test_two_people_of_a_passage_do_not_make_a_third() -> None:
    question = parse_question("Who does Lawrence Orr write for?")
    passage = "Christopher Orr disliked the film. Lawrence Toppman writes for The Observer."
    assert not check("Lawrence Orr writes for The Observer.", [hit(passage)], question).supported
    question = parse_question("Who does Lawrence Toppman write for?")
    passage = "The critic Lawrence B. Toppman is well known. Toppman writes for The Observer."
    assert check("Lawrence Toppman writes for The Observer.", [hit(passage)], question).supported


def test_a_word_that_stands_twice_only_in_the_sentence_is_not_backed() -> None:
    passage = "Kublai was granted a large appanage by his superior, Ogedei Khan."
    assert not check("Kublai was the superior of his superior, Ogedei Khan.", [hit(passage)]).supported
    assert check("Kublai was granted an appanage by his superior.", [hit(passage)]).supported


def test_an_introduction_that_names_the_passages_is_not_a_claim() -> None:
    assert check("According to the passages provided, the ferry Aurora left Kiel.", [hit(SHIP)]).supported


@pytest.mark.parametrize("sentence", ["", "...", "It is.", "Yes."])
def test_a_sentence_that_says_nothing_is_not_supported(sentence: str) -> None:
    assert not check(sentence, [hit(SHIP)]).supported


def test_without_hits_nothing_is_supported() -> None:
    assert check("The ferry Aurora left Kiel.", []).quotes == ()


def test_another_file_with_another_number_or_name_contradicts() -> None:
    question = parse_question("When was the town hall of Erla built, and by whom?")
    first = hit("The town hall of Erla was built in 1884 by Karl Amsel.", file_id=1)
    number = hit("It is old. The town hall of Erla was built in 1894.", file_id=2)
    same = hit("In 1884 the town hall of Erla was built.", file_id=3)
    verdict = check("The town hall of Erla was built in 1884.", [first, number, same], question)
    [other] = contradictions(verdict, [first, number, same], question)
    assert other.text == "The town hall of Erla was built in 1894."
    assert other.quotes[0].chunk_id == "chunk-2-0"

    name = hit("The town hall of Erla was built by Otto Fink.", file_id=4)
    verdict = check("The town hall of Erla was built by Karl Amsel.", [first, name], question)
    assert [other.text for other in contradictions(verdict, [first, name], question)] == [
        "The town hall of Erla was built by Otto Fink."
    ]


def test_an_amount_that_looks_like_a_year_contradicts_one_that_does_not() -> None:
    first = hit("The rent of the shop is 900 euros.", file_id=1)
    second = hit("The rent of the shop is 1500 euros.", file_id=2)
    verdict = check("The rent of the shop is 900 euros.", [first, second])
    assert [other.text for other in contradictions(verdict, [first, second])] == ["The rent of the shop is 1500 euros."]


def test_the_next_sentence_of_the_same_file_is_no_contradiction() -> None:
    passage = hit("The town hall was built in 1884. The school was built in 1894.")
    verdict = check("The town hall was built in 1884.", [passage])
    assert verdict.supported
    assert contradictions(verdict, [passage]) == []
