"""What belongs together: whether names, numbers and new words belong to the same verb and the same clause."""

import re
from collections.abc import Collection, Sequence

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.clauses import phrase_ranges
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_same_number
from deployments.answerer.passages import Sentence
from deployments.answerer.synonyms import same_meaning
from deployments.answerer.words import Word

MAX_OBJECT_DISTANCE = 3
"""In words, function words included: so near to a verb stands its object, its place or its day."""

_OBJECTS_END = re.compile(r"[;:]|\b(?:and|but|while|whereas|then)\b", re.I)
_PREPOSITION = re.compile(r"\b(in|at|on|from|for|by|of|to|with)\s+(?:(?:the|an?)\s+)?$", re.I)
_ARTICLE = re.compile(r"\W*(?:(?:the|an?)\s+)?", re.I)


def belongs_to_another_word(claim: Claim, evidence: Evidence) -> bool:
    """Return whether something that the claim says of one verb or one subject is said of another one there."""
    return _follows_another_verb(claim, evidence) or _is_number_of_another_clause(claim, evidence)


def _follows_another_verb(claim: Claim, evidence: Evidence) -> bool:
    """Return whether a name, a number or a new word stands behind a verb in the claim, and in the same way others do in
    the evidence: "arrived on Monday" for "left on Monday and arrived on Friday"."""
    stems = {word.stem for word in claim.words}
    for index, object_ in enumerate(claim.words[1:], 1):
        verb = claim.words[index - 1]
        if not _may_be_verb_and_object(claim, verb, object_):
            continue
        preposition = _preposition(claim.text, object_)
        found = [
            _objects(sentence, place, object_, preposition)
            for sentence in evidence.sentences
            for place, word in enumerate(sentence.words)
            if not word.is_name and word.number is None and same_meaning(verb.stem, word.stem)
        ]
        if found and all(objects and not any(_may_be_one(word, stems) for word in objects) for objects in found):
            return True
    return False


def _may_be_verb_and_object(claim: Claim, verb: Word, object_: Word) -> bool:
    """Return whether the second word is near, in the same clause, and a name or the first new word behind a given
    one."""
    if verb.is_name or verb.number is not None:
        return False
    if not object_.is_name and (object_ not in claim.new_words or verb in claim.new_words):
        return False
    is_near = object_.position - verb.position <= MAX_OBJECT_DISTANCE
    return is_near and not _OBJECTS_END.search(claim.text, verb.end, object_.start)


def _may_be_one(name: Word, stems: Collection[str]) -> bool:
    """Return whether a name is among others; an abbreviation may be one of them written in full."""
    return name.text.isupper() or any(same_meaning(name.stem, stem) for stem in stems)


def _objects(sentence: Sentence, place: int, like: Word, preposition: str) -> list[Word]:
    """Return the names, numbers or other words, whichever `like` is, in the rest of a word's clause, if the first of
    them is near and has that preposition."""
    verb = sentence.words[place]
    stop = _OBJECTS_END.search(sentence.text, verb.end)
    end = len(sentence.text) if stop is None else stop.start()
    found = [
        word
        for word in sentence.words[place + 1 :]
        if word.start < end and (word.is_name if like.is_name else (word.number is None) == (like.number is None))
    ]
    near = [word for word in found if word.position - verb.position <= MAX_OBJECT_DISTANCE]
    return found if near and _preposition(sentence.text, near[0]) == preposition else []


def _preposition(text: str, word: Word) -> str:
    match = _PREPOSITION.search(text[: word.start])
    return match[1].lower() if match else ""


def _is_number_of_another_clause(claim: Claim, evidence: Evidence) -> bool:
    """Return whether a new number of the claim stands in the evidence in a clause about something else, and what the
    claim says it of is in another clause: "sold 3400 bicycles in Spain" for "in Spain 1200 bicycles, in France 3400
    bicycles"."""
    numbers = [word for word in claim.words if word.number is not None and not claim.is_given(word)]
    for subject in claim.words:
        role = _role(claim.text, subject, 0)
        if not role:
            continue
        for number in numbers:
            if number is subject:
                continue
            found = [
                _is_of_another(role, subject, claim.words, sentence, start)
                for sentence in evidence.sentences
                for start, end in phrase_ranges(sentence.text)
                if any(is_same_number(number, word) and start <= word.start < end for word in sentence.words)
            ]
            if found and all(found):
                return True
    return False


def _role(text: str, word: Word, start: int) -> str:
    """Return what a word is in a clause that begins at `start`: "subject" if it is the first word, else its
    preposition. Empty if it has none, and for numbers that are no years."""
    if word.number is not None and not word.number.is_year:
        return ""
    if _ARTICLE.fullmatch(text, start, word.start):
        return "subject"
    return _preposition(text, word)


def _is_of_another(role: str, subject: Word, claim_words: Sequence[Word], sentence: Sentence, start: int) -> bool:
    """Return whether the clause of a sentence that begins at `start` has another word in the role of the subject, and
    the subject is in another clause, with a number of its own."""
    stems = {word.stem for word in claim_words}
    others_in_role: list[Word] = []
    has_own_number = False
    for first, last in phrase_ranges(sentence.text):
        clause = [word for word in sentence.words if first <= word.start < last]
        in_role = [
            word
            for word in clause
            if _role(sentence.text, word, first) == role
            and _is_year(word) == _is_year(subject)
            and (word.is_name == subject.is_name or role == "subject")
        ]
        if first == start:
            others_in_role = in_role
        elif any(word.stem == subject.stem for word in in_role):
            has_own_number |= any(word.number is not None and word.stem not in stems for word in clause)
    return has_own_number and bool(others_in_role) and not any(word.stem in stems for word in others_in_role)


def _is_year(word: Word) -> bool:
    return word.number is not None and word.number.is_year
