"""What a sentence claims: its words, names and numbers, and which of them the question has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from deployments.answerer.check.evidence import Evidence, is_written_small
from deployments.answerer.check.matching import is_in
from deployments.answerer.question import Question
from deployments.answerer.words import Word, stem, words_of

LIGHT_WORDS = frozenset(
    map(
        stem,
        """accord also approximate approximately become consider estimate exact exactly feature have include
        involve know make mention note particular particularly passage refer report respective respectively say serve
        specific specifically state take text total use various""".split(),
    )
)
"""Stems of words that say so little that evidence may lack them."""

_INTRODUCTION = re.compile(
    r"^\s*(?:according to|based on|as (?:stated|mentioned|described) in|in|from)\s+(?:the|these|this)\s+"
    r"(?:\w+\s+){0,2}?(?:passages?|texts?|documents?|information|excerpts?|articles?|context)(?:\s+(?:provided|given|above))?\s*,?\s*",
    re.I,
)
"""Such as "According to the passages provided,", which claims nothing."""
_COST_OF_LENGTH = 0.001
"""For each word of evidence, so that of two with equally many words of the claim the shorter one is closer."""


_YES_OR_NO = re.compile(r"^\s*(yes|no)\b\s*[,:;–—-]\s*(?=\w)", re.I)


@dataclass(frozen=True)
class Claim:
    """A sentence to be checked."""

    text: str
    """Without an introduction such as "According to the passages," or "Yes,"."""
    words: tuple[Word, ...]
    """Without negations."""
    negations: tuple[Word, ...]
    question_stems: frozenset[str]
    question_verbs: frozenset[str]
    """Stems of the question's verbs, which answers often replace by others."""
    contradicts_itself: bool
    """Whether it says "yes" and then the contrary."""

    @staticmethod
    def of(sentence: str, question: Question | None) -> "Claim":
        text = _INTRODUCTION.sub("", sentence)
        yes_or_no = _YES_OR_NO.match(text)
        text = _YES_OR_NO.sub("", text)
        words = words_of(text)
        return Claim(
            text,
            tuple(word for word in words if not word.is_negation),
            tuple(word for word in words if word.is_negation),
            frozenset() if question is None else frozenset(word.stem for word in question.words),
            frozenset() if question is None else question.verbs,
            contradicts_itself=bool(question and yes_or_no and _contradicts_itself(yes_or_no[1], words, question)),
        )

    @cached_property
    def new_words(self) -> tuple[Word, ...]:
        """The words that say something and that the question does not have."""
        return tuple(word for word in self.words if not self.is_given(word) and word.stem not in LIGHT_WORDS)

    def is_given(self, word: Word) -> bool:
        """Return whether the question has a word, so that the evidence need not repeat it."""
        return word.stem in self.question_stems

    def is_name(self, word: Word, evidence: Evidence) -> bool:
        """Return whether a word is a name. The first one of the claim has a capital letter anyway; it is a name unless
        the passage writes it small, too."""
        if not word.is_name or word.number is not None:
            return False
        if not word.is_first:
            return True
        return word.stem not in LIGHT_WORDS and not is_written_small(word, evidence.hit.chunk.text)

    def names(self, evidence: Evidence) -> list[Word]:
        return [word for word in self.words if self.is_name(word, evidence)]

    def closeness(self, evidence: Evidence) -> float:
        """Return the part of the words that evidence has; of two with an equal part the shorter one is closer. At most
        0 if it has none."""
        matched = sum(is_in(word, evidence.words) for word in self.words)
        return matched / len(self.words) - _COST_OF_LENGTH * len(evidence.words) if matched else 0.0


def _contradicts_itself(yes_or_no: str, words: Sequence[Word], question: Question) -> bool:
    """Return whether the sentence behind a "yes" or "no" means the other: after "yes" it denies what the question does
    not, or does not deny what the question denies; after "no" it has all words of the question and denies no more."""
    denies = any(word.is_negation for word in words) != question.is_negated
    if yes_or_no.lower() == "yes":
        return denies
    return not denies and all(is_in(word, words) for word in question.content_words)
