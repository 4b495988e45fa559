"""The other words of a claim: whether evidence has them, or what excludes them."""

import re
from collections.abc import Sequence

from deployments.answerer.check.claim import LIGHT_WORDS, Claim
from deployments.answerer.check.clauses import clause_ranges
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_excluded_by, is_in
from deployments.answerer.words import Word

_DOCUMENT = re.compile(r"\b(?:in|under|by) (?:the|this|that|my|your|our) $", re.I)
"""Before a word that may be a document's."""

MIN_WORDS_FOUND = 0.6
"""Part of all words of the claim; those that the question has may stand in the sentences before and after."""
MIN_WORDS_IN_EVIDENCE = 0.5
"""Part of all words of the claim that must be in the evidence itself."""


def second_sentence_adds_only_names(claim: Claim, evidence: Evidence) -> bool:
    """Return whether the second of two sentences adds at most names to what the first one has of the claim. It does not
    back the claim then: a pronoun means a name before it, not one behind it."""
    if len(evidence.sentences) == 1:
        return False
    first = evidence.sentences[0]
    lacking = [word for word in claim.words if not is_in(word, first.words, first.text)]
    return all(claim.is_name(word, evidence) for word in lacking)


def lacks_words(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence lacks one of the words that are neither names nor numbers, or too many of all words."""
    names = claim.names(evidence)
    ordinary = [
        word for word in claim.words if word.number is None and word not in names and word.stem not in LIGHT_WORDS
    ]
    if any(_is_repeated_only_in_claim(word, ordinary, evidence) for word in ordinary):
        return True
    for word in ordinary:
        if not (claim.is_given(word) or is_in(word, evidence.words) or _names_document(word, claim, evidence)):
            return True
        if claim.is_given(word) and not is_in(word, evidence.nearby_words) and word.stem not in evidence.earlier_stems:
            return True
    num_found = sum(
        is_in(word, evidence.nearby_words if claim.is_given(word) else evidence.words, evidence.text)
        or (claim.is_given(word) and word.is_name and word.stem in evidence.earlier_stems)
        for word in claim.words
    )
    num_in_evidence = sum(is_in(word, evidence.words, evidence.text) for word in claim.words)
    return num_found < MIN_WORDS_FOUND * len(claim.words) or num_in_evidence < MIN_WORDS_IN_EVIDENCE * len(claim.words)


def _is_repeated_only_in_claim(word: Word, ordinary: Sequence[Word], evidence: Evidence) -> bool:
    """Return whether the claim has a word twice and the evidence once: "the superior of his superior"."""
    num_in_claim = sum(other.stem == word.stem for other in ordinary)
    return num_in_claim > 1 and num_in_claim > sum(is_in(word, (other,)) for other in evidence.nearby_words)


def _names_document(word: Word, claim: Claim, evidence: Evidence) -> bool:
    """Return whether a word is one of the document's title: "in the lease", "under this insurance"."""
    return word.stem in evidence.title_stems and _DOCUMENT.search(claim.text[: word.start]) is not None


def says_opposite(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence has the opposite of a word of the claim, and lacks the word; or each clause of it that
    has words of the claim does: "The left lamp is green, the right lamp is red" for "The left lamp is red"."""
    if any(is_excluded_by(word, evidence.words) for word in claim.words):
        return True
    clauses = [
        [word for word in sentence.words if start <= word.start < end]
        for sentence in evidence.sentences
        for start, end in clause_ranges(sentence.text)
    ]
    related = [clause for clause in clauses if any(is_in(word, clause) for word in claim.words)]
    return len(related) > 1 and all(any(is_excluded_by(word, clause) for word in claim.words) for clause in related)
