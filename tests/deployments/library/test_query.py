"""How queries are split, and how the words' index is asked."""

import pytest

from deployments.library import lookup
from deployments.library.lookup import Counted, Lookup, plan_lookup
from deployments.library.query import parse_query
from deployments.library.spelling import Spelling
from deployments.library.unspaced import separated
from deployments.library.words import Terms


@pytest.mark.parametrize(
    ("query", "phrases", "words"),
    [
        ("What are the budget allocations for 2024?", (), ("budget", "allocations", "2024")),
        ('who wrote "the end" (1999)', ("the end",), ("wrote", "1999")),
        ("«bon mot» “x y” „a b“", ("bon mot", "x y", "a b"), ()),
        ('one " quote', (), ("one", "quote")),
        ("INV-2022-001, please", (), ("INV-2022-001", "please")),
        ("what is it", (), ("what", "is", "it")),
        ("does IT use it", (), ("IT", "use")),
        ("WHAT IS IT", (), ("WHAT", "IS", "IT")),
        ("word word", (), ("word",)),
        ("機械学習 2024", (), ("機械", "械学", "学習", "2024")),
        ("iPhone用", (), ("iPhone", "用")),
        ('"" - ?', (), ()),
    ],
)
def test_a_query_is_split(query: str, phrases: tuple[str, ...], words: tuple[str, ...]) -> None:
    parsed = parse_query(query)
    assert (parsed.phrases, parsed.words) == (phrases, words)


def test_text_without_spaces_is_separated() -> None:
    assert separated("plain text") == "plain text"
    assert separated("機械 abc").split() == ["機", "械", "abc"]
    assert separated("ﬁt ＡＢ") == "fit AB"


def test_terms_are_those_of_the_index() -> None:
    terms = Terms()
    assert terms.sequence("Running INV-2022 Zürich") == ["run", "inv", "2022", "zurich"]
    assert sorted(terms.distinct(["running", "runs fast"])) == ["fast", "run"]
    assert terms.sequence("") == []
    terms.close()


RARE, COMMON, VERY_COMMON = Counted("rare", 10), Counted("common", 40), Counted("very", 1000)


def test_rarer_words_decide_what_is_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_RANKED", 50)
    monkeypatch.setattr(lookup, "MAX_COUNTED", 2000)
    assert plan_lookup([], []) is None
    assert plan_lookup([], [COMMON, RARE]) == Lookup((("rare", "common"),), 50)
    assert plan_lookup([], [VERY_COMMON, COMMON, RARE]) == Lookup((("rare", "common"), ("rare", "common", "very")), 50)
    assert plan_lookup([], [VERY_COMMON]) == Lookup((("very",),), 1000)
    assert plan_lookup([COMMON], [RARE]) == Lookup((("common",), ("common", "rare")), 40)
    monkeypatch.setattr(lookup, "MAX_COUNTED", 100)
    assert plan_lookup([], [VERY_COMMON, RARE]) == Lookup((("rare",),), 10)


def test_spelling() -> None:
    spelling = Spelling()
    spelling.add(["budget", "budgets", "gadget", "receiv", "international", "abc", "x1234"])
    assert spelling.corrections("bugdet") == ["budget"]
    assert spelling.corrections("budgetz") == ["budget", "budgets"]
    assert spelling.corrections("reciev") == ["receiv"]
    assert spelling.corrections("intrenationel") == ["international"]
    assert spelling.corrections("abd") == []
    assert spelling.corrections("x1235") == []
    assert spelling.corrections("nothing") == []
