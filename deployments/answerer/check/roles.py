"""Who did what: whether the words of a claim go together in the same way in its evidence."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.clauses import end_of_clause
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_in, is_written_out
from deployments.answerer.passages import Sentence
from deployments.answerer.synonyms import same_meaning
from deployments.answerer.words import Word

_SUBJECT_DISTANCE = 2
"""In words, function words included, from a name to the verb behind it."""

_BY = re.compile(r"\bby\b", re.I)
_BY_WITHOUT_PLACE = re.compile(r"\bby\b(?!.*\b(?:on|in|at)\b)", re.I | re.S)
_BE = re.compile(r"\b(?:is|are|was|were|be|been|being)\b", re.I)
_NEXT_VERB = re.compile(r",|\band\b|\bor\b|\bbut\b", re.I)
"""Between a name and a verb whose subject it is not: "born in Warsaw and died"."""
_RELATIVE_CLAUSE = re.compile(r"(\w+)\s+(?:who|which|that)\s+$")
"""Before a verb: the word that a relative clause is about."""
_NEW_CLAUSE = re.compile(r"[;:.!?]\s|,\s*(?:and|but|while|whereas|who|which|although|though|because)\b", re.I)
_NEW_CLAUSE_WITH_SUBJECT = re.compile(
    r"[;:.!?]\s|,\s*(?:who|which)\b|,\s*(?:and|but|while|whereas|although|though|because)\s+(?:the|an?|his|her|its|their|[A-Z])\b"
)
"""Between clauses that have subjects of their own."""


def reverses_roles(claim: Claim, evidence: Evidence) -> bool:
    """Return whether a verb has another subject in the evidence, subject and object change places there, or two words
    that follow one another in the claim belong to different clauses there."""
    verbs = [word for word in claim.words if not word.is_name and word.number is None]
    return any(
        _has_other_subject(claim, verb, evidence) or _has_subject_and_object_reversed(claim, verb, evidence)
        for verb in verbs
    ) or any(_are_swapped_across_clauses(claim, *pair, evidence) for pair in pairwise(claim.words))


def _has_other_subject(claim: Claim, verb: Word, evidence: Evidence) -> bool:
    """Return whether a name stands right before a verb in the claim, and only others do in the evidence.

    Of several places with the verb in the evidence, those count that say the most of what the claim says behind it.
    """
    before = [word for word in claim.words if word.position < verb.position]
    if not before or not before[-1].is_name or verb.position - before[-1].position > _SUBJECT_DISTANCE:
        return False
    if is_written_out(before[-1].text, evidence.text):
        return False
    behind = [word for word in claim.words if word.position > verb.position]
    found: list[tuple[int, Word | None]] = []
    for sentence, place in _places_of_verb(verb, evidence):
        end = end_of_clause(sentence.text, sentence.words[place].end)
        rest = [word for word in sentence.words[place + 1 :] if word.start < end]
        found.append((sum(is_in(word, rest) for word in behind), _subject_right_before(sentence, place)))
    most = max((num_common for num_common, _ in found), default=0)
    subjects = [subject for num_common, subject in found if num_common == most]
    return bool(subjects) and all(subject is not None and not is_in(subject, claim.words) for subject in subjects)


def _subject_right_before(sentence: Sentence, place: int) -> Word | None:
    """Return the name right before the verb at `place`, or the word that its relative clause is about."""
    if place == 0:
        return None
    verb, previous = sentence.words[place], sentence.words[place - 1]
    antecedent = _RELATIVE_CLAUSE.search(sentence.text[: verb.start])
    if antecedent is not None and previous.text == antecedent[1]:
        return previous
    is_near = verb.position - previous.position <= _SUBJECT_DISTANCE
    if previous.is_name and is_near and not _NEXT_VERB.search(sentence.text, previous.end, verb.start):
        return previous
    return None


def _has_subject_and_object_reversed(claim: Claim, verb: Word, evidence: Evidence) -> bool:
    """Return whether the names before and behind a verb of the claim stand the other way round in the evidence: "A
    defeated B" and "B defeated A", but not "B was defeated by A"."""
    subject = _first_name(word for word in reversed(claim.words) if word.position < verb.position)
    object_ = _first_name(word for word in claim.words if word.position > verb.position)
    if subject is None or object_ is None:
        return False
    for sentence, place in _places_of_verb(verb, evidence):
        other_verb = sentence.words[place]
        left, right = sentence.words[:place], sentence.words[place + 1 :]
        is_reversed = (
            is_in(subject, right) and is_in(object_, left) and not is_in(subject, left) and not is_in(object_, right)
        )
        both_or_neither_by = bool(_BY.search(claim.text, verb.end)) == bool(_BY.search(sentence.text, other_verb.end))
        if is_reversed and both_or_neither_by:
            return True
        if is_in(subject, left) and is_in(object_, right):
            agent = next(word for word in right if is_in(object_, (word,)))
            if _is_passive(claim.text, verb, object_) != _is_passive(sentence.text, other_verb, agent):
                return True
    return False


def _places_of_verb(verb: Word, evidence: Evidence) -> Iterator[tuple[Sentence, int]]:
    """Yield each sentence of the evidence that has a verb, with its place among the sentence's words."""
    for sentence in evidence.sentences:
        for place, word in enumerate(sentence.words):
            if not word.is_name and same_meaning(verb.stem, word.stem):
                yield sentence, place


def _is_passive(text: str, verb: Word, agent: Word) -> bool:
    """Return whether it is "was hired by Alice"."""
    return bool(_BY_WITHOUT_PLACE.search(text, verb.end, agent.start)) and bool(_BE.search(text, 0, verb.start))


def _first_name(words: Iterable[Word]) -> Word | None:
    return next((word for word in words if word.is_name), None)


def _are_swapped_across_clauses(claim: Claim, first: Word, second: Word, evidence: Evidence) -> bool:
    """Return whether two words that follow one another in a clause of the claim stand in the evidence the other way
    round only, and in different clauses.

    If the question has one of the two, the clauses must have subjects of their own; if it has both, it is False.
    """
    num_given = claim.is_given(first) + claim.is_given(second)
    if _NEW_CLAUSE.search(claim.text, first.end, second.start) or num_given == 2:
        return False
    border = _NEW_CLAUSE_WITH_SUBJECT if num_given else _NEW_CLAUSE
    words = _words_with_places_in_text(evidence)
    places_of_first = [word.start for word in words if is_in(first, (word,))]
    places_of_second = [word.start for word in words if is_in(second, (word,))]
    if not places_of_first or not places_of_second:
        return False
    return all(
        place_of_second < place_of_first and bool(border.search(evidence.text, place_of_second, place_of_first))
        for place_of_first in places_of_first
        for place_of_second in places_of_second
    )


def _words_with_places_in_text(evidence: Evidence) -> Sequence[Word]:
    """Return the words of the evidence, with `start` and `end` counted in `evidence.text`."""
    first = evidence.sentences[0].start
    return [
        replace(word, start=word.start + sentence.start - first, end=word.end + sentence.start - first)
        for sentence in evidence.sentences
        for word in sentence.words
    ]
