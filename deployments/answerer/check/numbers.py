"""Numbers, dates and units: whether evidence has each number of a claim, and says it of the same thing."""

import re
from collections.abc import Sequence
from itertools import chain, pairwise

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.clauses import end_of_clause
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_in
from deployments.answerer.passages import Sentence
from deployments.answerer.synonyms import same_meaning
from deployments.answerer.words import MONTHS, Word

_COUNTED_DISTANCE = 3
"""In words, function words included, from a number to what it counts."""
_DATE_DISTANCE = 6
"""The same from a verb to its date."""
_RANGE_DISTANCE = 2
"""The same from a date to the next one of a range: "from 1 April to 15 April"."""
_RANGE_START = re.compile(r"\b(?:from|since|between)\s+$", re.I)
_RANGE_END = re.compile(r"\b(?:to|until|till)\s+$", re.I)


def lacks_number(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence lacks a number of the claim, or says it of something else."""
    return any(
        not is_in(word, evidence.nearby_words if claim.is_given(word) else evidence.words)
        or _counts_something_else(index, claim.words, evidence)
        or _is_date_of_something_else(index, claim.words, evidence)
        or _is_behind_another_number(index, claim.words, evidence)
        or _is_other_end_of_range(word, claim.text, evidence)
        for index, word in enumerate(claim.words)
        if word.number is not None
    )


def are_comparable(word: Word, other: Word) -> bool:
    """Return whether two numbers can be values of the same thing: the same unit, both years or neither."""
    if word.number is None or other.number is None or word.number.unit != other.number.unit:
        return False
    return word.number.is_year == other.number.is_year


def _counts_something_else(index: int, words: Sequence[Word], evidence: Evidence) -> bool:
    """Return whether the word behind the number `words[index]` is counted in the evidence by another number only."""
    number = words[index]
    counted = words[index + 1] if index + 1 < len(words) else None
    if counted is None or counted.position - number.position > _COUNTED_DISTANCE:
        return False
    if counted.number is not None or counted.is_name:
        return False
    found = [
        count
        for sentence in evidence.sentences
        for place, word in enumerate(sentence.words)
        if word.number is None and word.stem == counted.stem
        for count in _counts_of(sentence.words, place)
    ]
    return bool(found) and not any(is_in(number, (count,)) for count in found)


def _counts_of(words: Sequence[Word], place: int) -> list[Word]:
    """Return the number that counts the word at `place`, or nothing."""
    before = [
        word
        for word in words[max(0, place - 2) : place]
        if word.number is not None and words[place].position - word.position <= _COUNTED_DISTANCE
    ]
    return before[-1:]


def _is_date_of_something_else(index: int, words: Sequence[Word], evidence: Evidence) -> bool:
    """Return whether `words[index]` is a date, and the verb before it has only other dates in the evidence."""
    number = words[index]
    if not _is_date(words, index):
        return False
    verbs = [word for word in words[:index] if word.number is None and not word.is_name and word.stem not in MONTHS]
    if not verbs or number.position - verbs[-1].position > _DATE_DISTANCE:
        return False
    is_day = _is_day_of_month(words, index)
    dates = [
        date
        for sentence in evidence.sentences
        for place, word in enumerate(sentence.words)
        if word.number is None and same_meaning(verbs[-1].stem, word.stem)
        for date in _dates_after(sentence, place, is_day)
    ]
    return bool(dates) and not any(is_in(number, (date,)) for date in dates)


def _dates_after(sentence: Sentence, place: int, is_day: bool) -> list[Word]:
    """Return the first date (a day of a month, or else a year) in the clause behind the word at `place`, if it is near,
    and those that make a range with it."""
    verb = sentence.words[place]
    end = end_of_clause(sentence.text, verb.end)
    dates = [
        word
        for index, word in enumerate(sentence.words[place + 1 :], place + 1)
        if _is_date(sentence.words, index)
        and word.position - verb.position <= _DATE_DISTANCE
        and word.start < end
        and _is_day_of_month(sentence.words, index) == is_day
    ]
    apart = [
        index
        for index, (date, following) in enumerate(pairwise(dates), 1)
        if following.position - date.position > _RANGE_DISTANCE + 1
    ]
    return dates[: apart[0]] if apart else dates


def _is_behind_another_number(index: int, words: Sequence[Word], evidence: Evidence) -> bool:
    """Return whether in the evidence a number that the claim lacks stands between the number `words[index]` and a word
    beside it: "12 losses" in "12 wins, 4 losses"."""
    if _is_date(words, index):
        return False
    neighbours = chain(words[max(0, index - 1) : index], words[index + 1 : index + 2])
    return any(
        _is_other_number_between(words[index], neighbour, words, evidence)
        for neighbour in neighbours
        if neighbour.number is None and neighbour.stem not in MONTHS
    )


def _is_other_number_between(number: Word, neighbour: Word, words: Sequence[Word], evidence: Evidence) -> bool:
    """Return whether where two words are nearest to each other in the evidence, a number that is not in `words` and no
    date stands between them."""
    nearest: tuple[int, bool] | None = None
    for sentence in evidence.sentences:
        number_places = [place for place, word in enumerate(sentence.words) if is_in(number, (word,))]
        neighbour_places = [place for place, word in enumerate(sentence.words) if is_in(neighbour, (word,))]
        for one in number_places:
            for other in neighbour_places:
                between = sentence.words[min(one, other) + 1 : max(one, other)]
                has_other_number = any(
                    word.number is not None and not is_in(word, words) and not _is_date(between, place)
                    for place, word in enumerate(between)
                )
                if nearest is None or abs(one - other) < nearest[0]:
                    nearest = abs(one - other), has_other_number
    return nearest is not None and nearest[1]


def _is_other_end_of_range(number: Word, text: str, evidence: Evidence) -> bool:
    """Return whether a number is where a range starts in the claim, and where one ends in the evidence, or the other
    way round."""
    for here, there in ((_RANGE_START, _RANGE_END), (_RANGE_END, _RANGE_START)):
        if here.search(text[: number.start]):
            before = [
                sentence.text[: word.start]
                for sentence in evidence.sentences
                for word in sentence.words
                if is_in(number, (word,))
            ]
            return bool(before) and all(there.search(part) for part in before)
    return False


def _is_date(words: Sequence[Word], index: int) -> bool:
    """Return whether a number is a year or the day of a month."""
    number = words[index].number
    return number is not None and (number.is_year or not number.unit and _is_day_of_month(words, index))


def _is_day_of_month(words: Sequence[Word], index: int) -> bool:
    """Return whether a number stands right behind the name of a month, or before it: "18 March", "18th of March"."""
    word = words[index]
    before = [other for other in words[max(0, index - 1) : index] if word.position - other.position == 1]
    behind = [other for other in words[index + 1 : index + 2] if other.position - word.position <= 2]
    return (
        word.number is not None
        and word.number.value <= 31
        and any(other.stem in MONTHS for other in (*before, *behind))
    )
