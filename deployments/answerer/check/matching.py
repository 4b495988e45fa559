"""Whether a word of one text is in another one, in whatever way it is written there."""

import re
from collections.abc import Iterable, Sequence

from deployments.answerer.numbers import Number
from deployments.answerer.synonyms import OPPOSITES, same_meaning
from deployments.answerer.words import Word, stem


def is_in(word: Word, words: Iterable[Word], text: str = "") -> bool:
    """Return whether a word is among others: the same number, name, stem, or a synonym. `text` is where the others
    stand, for the words of an abbreviation."""
    if word.number is not None:
        return _is_number_in(word.number, words)
    if word.is_name and text and is_written_out(word.text, text):
        return True
    if word.is_name and not word.is_first:
        return any(word.stem == other.stem for other in words)
    return any(other.number is None and same_meaning(word.stem, other.stem) for other in words)


def is_excluded_by(word: Word, words: Sequence[Word]) -> bool:
    """Return whether words lack a word and have an opposite of it: "fell" excludes "rose"."""
    opposites = OPPOSITES.get(word.stem, frozenset())
    return bool(opposites) and not is_in(word, words) and any(other.stem in opposites for other in words)


def is_same_number(word: Word, other: Word) -> bool:
    """Return whether two words are numbers that say the same."""
    return word.number is not None and other.number is not None and word.number.agrees_with(other.number)


def is_written_out(abbreviation: str, text: str) -> bool:
    """Return whether the words of an abbreviation stand in a text: "United Nations" for "UN". False for a word that is
    no abbreviation."""
    letters = abbreviation.replace(".", "")
    if not 2 <= len(letters) <= 6 or not letters.isupper():
        return False
    pattern = r"\W+(?:of\W+|the\W+|and\W+)*".join(rf"{letter}\w+" for letter in letters)
    return bool(re.search(rf"\b{pattern}", text))


def _is_number_in(number: Number, words: Iterable[Word]) -> bool:
    """Return whether a number is among words, with its unit if it has one: beside it, or as another word."""
    words = tuple(words)
    same = [word.number for word in words if word.number is not None and number.agrees_with(word.number)]
    if not number.unit or any(other.unit for other in same):
        return bool(same)
    return bool(same) and any(word.stem == stem(number.unit) for word in words)
