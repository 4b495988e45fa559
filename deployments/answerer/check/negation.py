"""Negations: whether a claim and its evidence deny the same words."""

import re
from collections.abc import Iterable

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.clauses import end_of_clause
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_in
from deployments.answerer.words import Word, stem

_SCOPE_WORDS = 2
"""A negation denies so many of the content words that follow it."""
_NEGATION_DISTANCE = 6
"""In words, function words included, from a negation to what it denies."""
_DENIES_NOTHING = re.compile(r"\W*(?:only|until|just|merely|least|\d)", re.I)
"""Behind a negation: "not only", "no 5"."""
_OF = re.compile(r"\s+of\b", re.I)


def denies_otherwise(claim: Claim, evidence: Evidence) -> bool:
    """Return whether one of the two denies a word that both have, and the other one does not."""
    denied_by_claim = _denied(claim.text, (*claim.words, *claim.negations))
    denied_by_evidence = [word for sentence in evidence.sentences for word in _denied(sentence.text, sentence.words)]
    return any(is_in(word, evidence.words) and not is_in(word, denied_by_evidence) for word in denied_by_claim) or any(
        is_in(word, claim.words) and not is_in(word, denied_by_claim) for word in denied_by_evidence
    )


def _denied(text: str, words: Iterable[Word]) -> list[Word]:
    """Return the words that a negation denies."""
    in_order = sorted(words, key=lambda word: word.start)
    denied: list[Word] = []
    for index, negation in enumerate(in_order):
        if not negation.is_negation or _DENIES_NOTHING.match(text, negation.end):
            continue
        if negation.stem == stem("instead") and not _OF.match(text, negation.end):
            continue
        end = end_of_clause(text, negation.end)
        following = [word for word in in_order[index + 1 :] if not word.is_negation]
        denied += [
            word
            for word in following[:_SCOPE_WORDS]
            if word.position - negation.position <= _NEGATION_DISTANCE and word.start < end
        ]
    return denied
