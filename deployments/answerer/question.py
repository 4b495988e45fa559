"""What a question asks: its words, and what kind of thing answers it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from deployments.answerer.words import MONTHS, Word, fold, stem, words_of

Expected = Literal["person", "time", "place", "number", "reason", "any"]

_ASKS_FOR: Mapping[Expected, re.Pattern[str]] = {
    "number": re.compile(
        r"\bhow (many|much|long|old|far|large|big|tall|high|deep|fast|often|wide|heavy|hot|cold|warm|expensive"
        r"|thick)\b|\b(percentage|percent|number|amount)\b.* of"
    ),
    "time": re.compile(r"\bwhen\b|\b(what|which) (\w+ )?(year|date|day|month|decade|century|time)s?\b"),
    "person": re.compile(r"\b(who|whom|whose)\b"),
    "place": re.compile(
        r"\bwhere\b|\b(what|which) (\w+ )?(city|country|state|place|location|town|continent|region|province)\b"
    ),
    "reason": re.compile(r"\bwhy\b"),
}
"""What kind of thing a question asks for, by patterns of questions in lower case. The first that fits counts."""

_HEAD = re.compile(
    r"\b(?:what|which|whose|how many|how much)\s+((?:[\w'’-]+\s+){0,2}?[\w'’-]+)\s+"
    r"(?:is|are|was|were|did|does|do|has|have|had|can|could|will|would"
    r"|of|for|in|on|at|by|from|that|which|who|to)\b",
    re.I,
)
"""The noun by which a question asks: "which river", "how many school buildings"."""
_HOW = re.compile(
    r"\bhow\s+(long|old|far|large|big|tall|high|deep|fast|often|wide|heavy|hot|cold|warm|expensive|strong|thick)\b",
    re.I,
)
_AUXILIARY = re.compile(r"\b(?:do|does|did)\b", re.I)
_BEFORE_NOUN = re.compile(
    r"\b(?:the|a|an|his|her|its|their|this|that|these|those|of|in|on|at|for|with|by|from|s)\W*$", re.I
)
_VERB_ENDING = re.compile(r"[a-z]{2}(?:ed|ing|ize[sd]?|ise[sd]?)$", re.I)
_BEFORE_VERB = re.compile(r"\b(?:to|who|that|could|can|will|would|must|should|may|might)\s+$", re.I)

_PLACE = re.compile(r"\b(?:in|at|near|from|to|of|into|around)\s+(?:the\s+)?[A-Z]")
_REASON = re.compile(r"\b(?:because|due to|since|so that|in order|as a result|caused|to)\b")
_TIME_UNITS = frozenset(("day", "week", "month", "year", "decade", "century", "hour", "minute", "second"))

ASKING_STEMS = frozenset(
    map(
        stem,
        """name names kind kinds type types sort year date day month city country state place person people number
        amount many much percentage happen happened call called known term word thing example give describe tell say
        mention according document text passage file page""".split(),
    )
)
"""Stems of words by which a question asks, and which need not stand in what answers it."""


@dataclass(frozen=True)
class Question:
    text: str
    words: tuple[Word, ...]
    expected: Expected
    is_negated: bool

    @cached_property
    def content_words(self) -> tuple[Word, ...]:
        """Its words without those by which it asks, such as "year" in "in which year" and "long" in "how long"."""
        head = _HEAD.search(self.text) or _HOW.search(self.text)
        asking = range(*head.span(1)) if head else range(0)
        return tuple(word for word in self.words if word.stem not in ASKING_STEMS and word.start not in asking)

    @cached_property
    def verbs(self) -> frozenset[str]:
        """Stems of the words that are probably verbs, which answers often replace by others."""
        auxiliary = _AUXILIARY.search(self.text)
        verbs: set[str] = set()
        has_main_verb = False
        for word in self.words:
            if word.is_name and not word.is_first or word.number is not None:
                continue
            before = self.text[: word.start]
            is_main_verb = (
                auxiliary is not None
                and not has_main_verb
                and word.start > auxiliary.end()
                and not _BEFORE_NOUN.search(before)
            )
            has_main_verb = has_main_verb or is_main_verb
            if (
                is_main_verb
                or _VERB_ENDING.search(word.text)
                and not _BEFORE_NOUN.search(before)
                or _BEFORE_VERB.search(before)
            ):
                verbs.add(word.stem)
        return frozenset(verbs)


def parse_question(text: str) -> Question:
    lower = fold(text)
    expected: Expected = next((expected for expected, pattern in _ASKS_FOR.items() if pattern.search(lower)), "any")
    words = words_of(text)
    is_negated = any(word.is_negation for word in words)
    return Question(text, tuple(word for word in words if not word.is_negation), expected, is_negated)


def has_expected(expected: Expected, text: str, new_words: Sequence[Word]) -> bool:
    """Return whether words that a question does not have, and the text in which they stand, can be an answer of the
    expected kind: a name for `person`, a number for `number` and so on. `any` has no such sign."""
    match expected:
        case "number":
            return any(word.number is not None for word in new_words)
        case "time":
            return any(_is_time(word) for word in new_words)
        case "person":
            return any(word.is_name and not word.is_first for word in new_words)
        case "place":
            return bool(_PLACE.search(text)) and any(word.is_name and not word.is_first for word in new_words)
        case "reason":
            return bool(_REASON.search(text))
        case "any":
            return False


def _is_time(word: Word) -> bool:
    if word.number is None:
        return word.stem in MONTHS
    number = word.number
    return number.is_year or number.kind == "decade" or number.unit in _TIME_UNITS
