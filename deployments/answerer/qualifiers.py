"""Small words and forms that change what a sentence says, which the comparison of its other words does not see.

Each function compares a sentence to be checked (`claim`) with sentences of a passage.
"""

import re
from collections.abc import Collection, Iterable, Sequence

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
    r"promis(?:e|es|ed)|expected|supposed|used)\s+to"
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
_THAN = re.compile(r"\bthan\s+(?:(?:in|on|at|the|an?|for|of)\s+)*$", re.I)
_PREPOSITION = re.compile(r"\b(in|at|on|from|for|by|of|to|with)\s+(?:(?:the|an?)\s+)?$", re.I)
_ARTICLE = re.compile(r"\W*(?:(?:the|an?)\s+)?", re.I)
_DIFFERENCE = re.compile(r"\s+(?:\w+\s+)?(?:more|less|fewer|\w+er)\s+than\b", re.I)
"""Behind a number."""
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
    if _DIFFERENCE.match(text, number.end):
        return "difference"
    return next((name for name, pattern in _BOUND_BEFORE_NUMBER if pattern.search(before)), "")


def quantifiers_differ(claim: str, words: Iterable[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether a word has another quantifier: "all members" for "some members"."""
    for word in words:
        here = _quantifier(claim, word)
        if here is None:
            continue
        there = [
            _quantifier(text, other)
            for text, others in texts
            for other in others
            if same_meaning(word.stem, other.stem)
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


def is_compared_otherwise(claim: str, words: Sequence[Word], texts: Sequence[tuple[str, Sequence[Word]]]) -> bool:
    """Return whether the passage compares with something that is compared with another thing here: "aluminium is
    heavier than iron" for "iron is heavier than aluminium"."""
    here = _compared_with(claim, words)
    there = [word for text, others in texts for word in _compared_with(text, others)]
    stems = {word.stem for word in here}
    return bool(here and there) and all(
        word.stem not in stems and any(word.stem == other.stem for other in words) for word in there
    )


def _compared_with(text: str, words: Sequence[Word]) -> list[Word]:
    return [word for word in words if _THAN.search(text[: word.start])]


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


def follows_another_verb(
    claim: str, words: Sequence[Word], new: Collection[Word], texts: Sequence[tuple[str, Sequence[Word]]]
) -> bool:
    """Return whether a name, a number or a new word stands after a word here, and in the same way another one after
    that word there: "arrived on Monday" for "left on Monday and arrived on Friday"."""
    stems = {word.stem for word in words}
    for index, object_ in enumerate(words[1:], 1):
        verb = words[index - 1]
        if not (object_.is_name or object_ in new) or verb.is_name or verb.number is not None or verb.is_negation:
            continue
        if verb in new and not object_.is_name:
            continue
        if object_.position - verb.position > MAX_FOLLOWING or _CLAUSE_END.search(claim, verb.end, object_.start):
            continue
        preposition = _preposition(claim, object_)
        there = [
            _objects(text, others, place, object_, preposition)
            for text, others in texts
            for place, other in enumerate(others)
            if not other.is_name and other.number is None and same_meaning(verb.stem, other.stem)
        ]
        if there and all(found and not any(_may_be_one(other, stems) for other in found) for found in there):
            return True
    return False


def _may_be_one(name: Word, stems: Collection[str]) -> bool:
    """Return whether a name is among others; an abbreviation may be one of them written in full."""
    return name.text.isupper() or any(same_meaning(name.stem, stem) for stem in stems)


def _objects(text: str, words: Sequence[Word], place: int, like: Word, preposition: str) -> list[Word]:
    """Return the names, numbers or other words, whichever `like` is, in the rest of a word's clause, if the first of
    them is near and has that preposition."""
    word = words[place]
    stop = _CLAUSE_END.search(text, word.end)
    end = len(text) if stop is None else stop.start()
    found = [
        other
        for other in words[place + 1 :]
        if other.start < end and (other.is_name if like.is_name else (other.number is None) == (like.number is None))
    ]
    near = [other for other in found if other.position - word.position <= MAX_FOLLOWING]
    return found if any(_preposition(text, other) == preposition for other in near[:1]) else []


def _preposition(text: str, word: Word) -> str:
    match = _PREPOSITION.search(text[: word.start])
    return match[1].lower() if match else ""


def is_of_another_clause(
    claim: str, words: Sequence[Word], new: Sequence[Word], texts: Sequence[tuple[str, Sequence[Word]]]
) -> bool:
    """Return whether a number stands in a clause about something else there, and what it is said of here is in another
    clause: "sold 3400 bicycles in Spain" for "in Spain 1200 bicycles, in France 3400 bicycles"."""
    for subject in words:
        here = _form(claim, subject, 0)
        if not here:
            continue
        for number in new:
            if number is subject or number.number is None:
                continue
            found = [
                _is_of_another(here, subject, words, text, others, start)
                for text, others in texts
                for start, end in _clauses(_PHRASE_BORDER, text)
                if any(_is_same_number(number, other) and start <= other.start < end for other in others)
            ]
            if found and all(found):
                return True
    return False


def _form(text: str, word: Word, start: int) -> str:
    """Return the preposition of a word in a clause that begins at `start`, or "subject" if it is its first word;
    nothing else has a form."""
    if word.number is not None and not _is_year(word):
        return ""
    if _ARTICLE.fullmatch(text, start, word.start):
        return "subject"
    return _preposition(text, word)


def _is_year(word: Word) -> bool:
    return word.number is not None and not word.number.unit and 1000 <= word.number.value <= 2100


def _is_of_another(
    form: str, subject: Word, words: Sequence[Word], text: str, others: Sequence[Word], start: int
) -> bool:
    """Return whether the clause of a text that begins at `start` has another word in the form of the subject, and the
    subject is in another clause, with a number of its own."""
    stems = {word.stem for word in words}
    inside = []
    has_own_number = False
    for first, last in _clauses(_PHRASE_BORDER, text):
        clause = [other for other in others if first <= other.start < last]
        in_form = [
            other
            for other in clause
            if _form(text, other, first) == form
            and _is_year(other) == _is_year(subject)
            and (other.is_name == subject.is_name or form == "subject")
        ]
        if first == start:
            inside = in_form
        elif any(other.stem == subject.stem for other in in_form):
            has_own_number = has_own_number or any(
                other.number is not None and other.stem not in stems for other in clause
            )
    return has_own_number and bool(inside) and not any(other.stem in stems for other in inside)


def clauses(text: str) -> list[tuple[int, int]]:
    """Return where the clauses of a sentence begin and end."""
    return _clauses(_CLAUSE, text)


def _clauses(border: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    starts = [0, *(match.end() for match in border.finditer(text))]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))
