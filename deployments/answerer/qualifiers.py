"""Small words and forms that change what a sentence says, which the comparison of its other words does not see.

Each function compares a sentence to be checked (`claim`) with sentences of a passage.
"""

import re
from collections.abc import Iterable, Sequence

from deployments.answerer.synonyms import same_meaning
from deployments.answerer.words import Word, fold

MAX_FOLLOWING = 3
"""In words, function words included: so near to a verb stands its object, its place or its day."""

_BOUNDS = (
    ("lower", r"at least|more than|over|above|minimum of|no less than|no fewer than|not less than"),
    ("upper", r"at most|up to|less than|fewer than|under|below|maximum of|no more than|not more than"),
)
_BOUND_BEFORE_NUMBER = tuple((name, re.compile(rf"\b(?:{words})\W+$", re.I)) for name, words in _BOUNDS)
_QUANTIFIERS = (
    frozenset(("all", "every", "everyone", "everybody", "everything", "each")),
    frozenset(("most",)),
    frozenset(("some", "several", "someone", "somebody", "something")),
    frozenset(("few",)),
    frozenset(("no", "none", "nobody", "nothing")),
)
_QUANTIFIED_DISTANCE = 3
_ORDER_IN_TIME = re.compile(r"\b(before|after)\s+((?:the|an?|his|her|its|their)\s+)?", re.I)
_NOT_A_FACT = (
    r"may|might|could|can|allegedly|reportedly|almost|nearly|stop(?:s|ped)?|ceas(?:e|es|ed)|quits?|"
    r"(?:tr(?:y|ies|ied)|attempt(?:s|ed)?|want(?:s|ed)?|plan(?:s|ned)?|intend(?:s|ed)?|hop(?:e|es|ed)|threaten(?:s|ed)?|"
    r"promis(?:e|es|ed)|expected|supposed)\s+to"
)
_POSSIBLE = re.compile(rf"\b(?:{_NOT_A_FACT})\s+(?:also\s+|be\s+|have\s+|been\s+|not\s+|well\s+)*$", re.I)
_ANY_POSSIBLE = re.compile(
    rf"\b(?:{_NOT_A_FACT}|possibl[ey]|perhaps|potential(?:ly)?|maybe|(?:un)?likely|able|capable|option(?:al)?)\b", re.I
)
_RELATIVES = re.compile(
    r"\s*(?:father|mother|parents?|son|daughter|child(?:ren)?|wife|husband|brother|sister|uncle|aunt|cousin|nephew|niece|"
    r"grand\w+|friend|boss|partner|colleague|neighbou?r|lawyer|assistant|secretary|deputy|predecessor|successor|"
    r"teacher|students?|rival|opponent)\b",
    re.I,
)
_POSSESSIVE_END = re.compile(r"['’]s?$")
_CLAUSE_END = re.compile(r"[;:]|\b(?:and|but|while|whereas|then)\b", re.I)
_PREPOSITION = re.compile(r"\b(in|at|on|from|for|by|of|to)\s+$", re.I)
_PHRASE_BORDER = re.compile(r"[;,]\s|\b(?:and|but|while|whereas)\b", re.I)
_CLAUSE = re.compile(r"[;,]\s|\b(?:but|while|whereas)\b", re.I)


def bounds_differ(claim: str, words: Sequence[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether a number has another bound ("at most 40" for "at least 40"), one that it does not have there, or
    lacks the upper one that it has there. "40" for "at least 40" is true."""
    for word in words:
        if word.number is None:
            continue
        here = _bound(claim, word)
        there = {_bound(text, other) for text, others in texts for other in others if _is_same_number(word, other)}
        if there and here not in there and not (here == "" and "lower" in there):
            return True
    return False


def _is_same_number(word: Word, other: Word) -> bool:
    return word.number is not None and other.number is not None and word.number.agrees_with(other.number)


def _bound(text: str, number: Word) -> str:
    before = text[: number.start]
    return next((name for name, pattern in _BOUND_BEFORE_NUMBER if pattern.search(before)), "")


def quantifiers_differ(claim: str, words: Iterable[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether a word has another quantifier: "all members" for "some members"."""
    for word in words:
        here = _quantifier(claim, word)
        if here is None:
            continue
        there = [
            _quantifier(text, other) for text, others in texts for other in others if same_meaning(word.stem, other.stem)
        ]
        if there and all(other is not None and other != here for other in there):
            return True
    return False


def _quantifier(text: str, word: Word) -> frozenset[str] | None:
    before = fold(text[: word.start]).split()[-_QUANTIFIED_DISTANCE:]
    # Only articles and "of" may come between: "all of the members".
    for token in reversed(before):
        found = next((group for group in _QUANTIFIERS if token in group), None)
        if found is not None:
            return found
        if token not in ("of", "the", "its", "their", "our"):
            return None
    return None


def times_differ(claim: str, words: Sequence[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether something is before here what it is after there, or the other way round."""
    for match in _ORDER_IN_TIME.finditer(claim):
        following = next((word for word in words if word.start == match.end()), None)
        if following is None:
            continue
        there = {
            other[1].lower()
            for text, others in texts
            for other in _ORDER_IN_TIME.finditer(text)
            if any(
                one.start == other.end() and (same_meaning(one.stem, following.stem) or _is_same_number(one, following))
                for one in others
            )
        }
        if there and match[1].lower() not in there:
            return True
    return False


def is_certain_only_here(claim: str, words: Iterable[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether the claim says as a fact what the passage says to be possible, tried or ended ("may reduce")."""
    if _ANY_POSSIBLE.search(claim):
        return False
    for word in words:
        if word.is_name or word.number is not None:
            continue
        there = [
            bool(_POSSIBLE.search(text[: other.start]))
            for text, others in texts
            for other in others
            if same_meaning(word.stem, other.stem)
        ]
        if there and all(there):
            return True
    return False


def is_of_relative(claim: str, names: Iterable[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether the passage speaks of somebody's relative or the like ("John's father"), the claim of him."""
    for name in names:
        after = claim[name.end :]
        if _POSSESSIVE_END.search(name.text) or _RELATIVES.search(claim):
            continue
        there = [
            (_POSSESSIVE_END.search(other.text), text[other.end :])
            for text, others in texts
            for other in others
            if other.is_name and other.stem == name.stem
        ]
        if there and after and all(possessive and _RELATIVES.match(rest) for possessive, rest in there):
            return True
    return False


def follows_another_verb(claim: str, words: Sequence[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether a name stands after a word here, and other names after that word there: "arrived on Monday" for
    "left on Monday and arrived on Friday"."""
    for index, name in enumerate(words[1:], 1):
        verb = words[index - 1]
        if not name.is_name or verb.is_name or verb.number is not None or verb.is_negation:
            continue
        if name.position - verb.position > MAX_FOLLOWING or _CLAUSE_END.search(claim, verb.end, name.start):
            continue
        there = [
            _names_after(text, others, place)
            for text, others in texts
            for place, other in enumerate(others)
            if not other.is_name and other.number is None and same_meaning(verb.stem, other.stem)
        ]
        if there and all(
            names and not any(_is_same_name(name, other) or other in words for other in names) for names in there
        ):
            return True
    return False


def _is_same_name(name: Word, other: Word) -> bool:
    return name.stem == other.stem or name.text.isupper() or other.text.isupper()


def _names_after(text: str, words: Sequence[Word], place: int) -> list[Word]:
    """Return the names in the rest of a word's clause if the first of them is near."""
    word = words[place]
    stop = _CLAUSE_END.search(text, word.end)
    end = len(text) if stop is None else stop.start()
    names = [other for other in words[place + 1 :] if other.is_name and other.start < end]
    return names if names and names[0].position - word.position <= MAX_FOLLOWING else []


def is_in_another_phrase(
    claim: str, words: Sequence[Word], new: Sequence[Word], texts: Sequence[tuple[str, Sequence[Word]]]
) -> bool:
    """Return whether a number stands beside another place or year there: "sold 3400 bicycles in Spain" for "in Spain
    1200 bicycles, in France 3400 bicycles"."""
    for place in words:
        here = _phrase(claim, place)
        if not here:
            continue
        for number in new:
            if number is place or number.number is None or _is_year(number):
                continue
            found = [
                _is_elsewhere(here, place, words, text, others, start, end)
                for text, others in texts
                for start, end in _phrase_clauses(text)
                if any(_is_same_number(number, other) and start <= other.start < end for other in others)
            ]
            if found and all(found):
                return True
    return False


def _phrase(text: str, word: Word) -> str:
    """Return the preposition of a name or a year, or nothing."""
    if not (word.is_name or _is_year(word)):
        return ""
    match = _PREPOSITION.search(text[: word.start])
    return match[1].lower() if match else ""


def _is_year(word: Word) -> bool:
    return word.number is not None and not word.number.unit and 1000 <= word.number.value <= 2100


def _is_elsewhere(
    preposition: str, place: Word, words: Sequence[Word], text: str, others: Sequence[Word], start: int, end: int
) -> bool:
    """Return whether a clause of a text has another place in the same form, and only another clause has this one."""
    in_form = [other for other in others if _phrase(text, other) == preposition and _is_year(other) == _is_year(place)]
    same = [other for other in in_form if other.stem == place.stem]
    inside = [other for other in in_form if start <= other.start < end]
    return bool(same) and bool(inside) and not any(other.stem in {word.stem for word in words} for other in inside)


def _phrase_clauses(text: str) -> list[tuple[int, int]]:
    starts = [0, *(match.end() for match in _PHRASE_BORDER.finditer(text))]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def clauses(text: str) -> list[tuple[int, int]]:
    """Return where the clauses of a sentence begin and end."""
    starts = [0, *(match.end() for match in _CLAUSE.finditer(text))]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))
