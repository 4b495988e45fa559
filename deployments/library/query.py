"""What a user's query asks of the words' index."""

import re
from dataclasses import dataclass

from deployments.library.unspaced import UNSPACED_RUN

STOP_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here hers him his how i
    if in into is it its itself just me more most my of off on once only or other our out over own same she should so
    some such than that the their them then there these they this those through to too under until up us very was we
    were what when where which while who whom whose why will with would you your""".split()
)
"""English words that are left out of a query, unless it has no others; the common function and question words."""

_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»')
_EDGES = re.compile(r"^[^\w]+|[^\w]+$")
"""Punctuation around a word."""


@dataclass(frozen=True)
class Query:
    phrases: tuple[str, ...]
    """Each must occur in a result."""
    words: tuple[str, ...]
    """The more of them occur, the better. A word with punctuation inside, such as an identifier or a number, stands for
    its parts in this order."""


def parse_query(text: str) -> Query:
    """Split a query into quoted phrases and words."""
    phrases = [next(filter(None, match), "") for match in _QUOTED.findall(text)]
    rest = _QUOTED.sub(" ", text)
    words = [word for part in rest.split() if (word := _EDGES.sub("", part))]
    # In a query that is not all in capitals, WHO, IT and US are names.
    shouted = rest.isupper()
    content_words = [
        word for word in words if word.lower() not in STOP_WORDS or (len(word) > 1 and word.isupper() and not shouted)
    ]
    if not content_words and not any(map(_has_word, phrases)):
        content_words = words
    units = [unit for word in content_words for unit in _units(word)]
    return Query(tuple(filter(_has_word, phrases)), tuple(dict.fromkeys(filter(_has_word, units))))


def _units(word: str) -> list[str]:
    """Return what is looked up for a word: the word; of a script without spaces, each two neighbouring characters,
    because nobody says where its words end."""
    units = []
    position = 0
    for run in UNSPACED_RUN.finditer(word):
        units.append(word[position : run.start()])
        characters = run.group()
        units += [characters[i : i + 2] for i in range(max(1, len(characters) - 1))]
        position = run.end()
    units.append(word[position:])
    return units


def _has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)
