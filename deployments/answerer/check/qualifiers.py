"""Small words and forms that change what a sentence says, which the comparison of its other words does not see."""

import re
from collections.abc import Iterator

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_same_number
from deployments.answerer.passages import Sentence
from deployments.answerer.synonyms import same_meaning
from deployments.answerer.words import Word, fold

_BOUNDS = (
    ("lower", r"at least|more than|over|above|minimum of|no less than|no fewer than|not less than"),
    ("upper", r"at most|up to|less than|fewer than|under|below|maximum of|no more than|not more than"),
)
_BOUND_BEFORE_NUMBER = tuple((name, re.compile(rf"\b(?:{words})\W+$", re.I)) for name, words in _BOUNDS)
_DIFFERENCE = re.compile(r"\s+(?:\w+\s+)?(?:more|less|fewer|\w+er)\s+than\b", re.I)
"""Behind a number: "20 euros more than"."""
_QUANTIFIERS = (
    frozenset(("all", "every", "everyone", "everybody", "everything", "each")),
    frozenset(("most",)),
    frozenset(("some", "several", "someone", "somebody", "something")),
    frozenset(("few",)),
    frozenset(("no", "none", "nobody", "nothing")),
)
_QUANTIFIER_DISTANCE = 3
"""In words, from a quantifier to what it quantifies."""
_BETWEEN_QUANTIFIER_AND_NOUN = frozenset(("of", "the", "its", "their", "our"))
_BEFORE_OR_AFTER = re.compile(r"\b(before|after)\s+((?:the|an?|his|her|its|their)\s+)?", re.I)
_THAN = re.compile(r"\bthan\s+(?:(?:in|on|at|the|an?|for|of)\s+)*$", re.I)
_RELATION = re.compile(
    r"\s*(?:father|mother|parents?|son|daughter|child(?:ren)?|wife|husband|brother|sister|uncle|aunt|cousin|nephew|niece|"
    r"grand\w+|friend|boss|partner|colleague|neighbou?r|lawyer|assistant|secretary|deputy|predecessor|successor|"
    r"teacher|students?|rival|opponent)\b",
    re.I,
)
_POSSESSIVE_ENDING = re.compile(r"['’]s?$")


def is_qualified_otherwise(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence qualifies what the claim says in another way."""
    return (
        _bounds_number_otherwise(claim, evidence)
        or _quantifies_otherwise(claim, evidence)
        or _is_before_instead_of_after(claim, evidence)
        or _compares_other_way_round(claim, evidence)
        or _is_about_relative(claim, evidence)
    )


def _bounds_number_otherwise(claim: Claim, evidence: Evidence) -> bool:
    """Return whether a number has another bound ("at most 40" for "at least 40"), one that it does not have there, or
    lacks the upper one that it has there. "40" for "at least 40" is true."""
    for word in claim.words:
        if word.number is None:
            continue
        bound = _bound(claim.text, word)
        found = {_bound(sentence.text, other) for sentence, other in _words_of(evidence) if is_same_number(word, other)}
        if found and bound not in found and not (bound == "" and "lower" in found):
            return True
    return False


def _bound(text: str, number: Word) -> str:
    """Return `lower`, `upper` or `difference`; empty for a number without a bound."""
    if _DIFFERENCE.match(text, number.end):
        return "difference"
    before = text[: number.start]
    return next((name for name, pattern in _BOUND_BEFORE_NUMBER if pattern.search(before)), "")


def _quantifies_otherwise(claim: Claim, evidence: Evidence) -> bool:
    """Return whether a word has another quantifier: "all members" for "some members"."""
    for word in claim.words:
        quantifier = _quantifier(claim.text, word)
        if quantifier is None:
            continue
        found = [_quantifier(sentence.text, other) for sentence, other in _words_like(word, evidence)]
        if found and all(other is not None and other != quantifier for other in found):
            return True
    return False


def _quantifier(text: str, word: Word) -> frozenset[str] | None:
    """Return the quantifier of a word, as the group of those that mean the same; None if it has none."""
    before = fold(text[: word.start]).split()[-_QUANTIFIER_DISTANCE:]
    for token in reversed(before):
        found = next((group for group in _QUANTIFIERS if token in group), None)
        if found is not None:
            return found
        if token not in _BETWEEN_QUANTIFIER_AND_NOUN:
            return None
    return None


def _is_before_instead_of_after(claim: Claim, evidence: Evidence) -> bool:
    """Return whether something is before here what it is after there, or the other way round."""
    for match in _BEFORE_OR_AFTER.finditer(claim.text):
        event = next((word for word in claim.words if word.start == match.end()), None)
        if event is None:
            continue
        found = {
            other[1].lower()
            for sentence in evidence.sentences
            for other in _BEFORE_OR_AFTER.finditer(sentence.text)
            if any(
                word.start == other.end() and (same_meaning(word.stem, event.stem) or is_same_number(word, event))
                for word in sentence.words
            )
        }
        if found and match[1].lower() not in found:
            return True
    return False


def _compares_other_way_round(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence compares with something that the claim compares with another thing: "iron is heavier than
    aluminium" for "aluminium is heavier than iron"."""
    stems = {word.stem for word in claim.words if _is_compared_with(claim.text, word)}
    found = [word for sentence, word in _words_of(evidence) if _is_compared_with(sentence.text, word)]
    return bool(stems and found) and all(
        word.stem not in stems and any(word.stem == other.stem for other in claim.words) for word in found
    )


def _is_compared_with(text: str, word: Word) -> bool:
    return bool(_THAN.search(text[: word.start]))


def _is_about_relative(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence speaks of somebody's relative or the like ("John's father"), the claim of him."""
    if _RELATION.search(claim.text):
        return False
    for name in claim.words:
        if not name.is_name or name.end == len(claim.text) or _POSSESSIVE_ENDING.search(name.text):
            continue
        found = [
            _POSSESSIVE_ENDING.search(other.text) and _RELATION.match(sentence.text, other.end)
            for sentence, other in _words_of(evidence)
            if other.is_name and other.stem == name.stem
        ]
        if found and all(found):
            return True
    return False


def _words_of(evidence: Evidence) -> Iterator[tuple[Sentence, Word]]:
    """Yield the words of evidence, each with its sentence."""
    for sentence in evidence.sentences:
        for word in sentence.words:
            yield sentence, word


def _words_like(word: Word, evidence: Evidence) -> Iterator[tuple[Sentence, Word]]:
    """Yield the words of evidence that mean the same as a word, each with its sentence."""
    return ((sentence, other) for sentence, other in _words_of(evidence) if same_meaning(word.stem, other.stem))
