"""The content words of a text, as words, numbers and names that can be compared with those of another text.

Function words and stems are those of English. Of other scripts, words are compared as they are written.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import snowballstemmer

from deployments.answerer.numbers import Number, number_at
from deployments.answerer.tokens import Token, tokens_of

FUNCTION_WORDS = frozenset(
    """a about above after again all also although am among an and any are as at be because been before being below
    between both but by can could did do does doing done down during each either etc even ever for from further had
    has have having he her here hers herself despite throughout among amid him himself his how however i if in indeed
    into is it its itself just let may me might more most much must my myself of off on once only onto or other our
    ours out over own per quite rather s same shall she should since so some such than that the their theirs them
    themselves then there thereby therefore these they this those though through thus to too toward towards under
    until up upon us very via was we well were what whatever when where whereas whether which while who whom whose why
    will with within would yet you your yours d ll re t ve""".split()
)

NEGATIONS = frozenset(
    """not no never none neither nor nothing nobody nowhere without cannot hardly barely scarcely unable lack lacks
    lacked fail fails failed n't refuse refuses refused deny denies denied rarely seldom false untrue except unlike
    instead
    nicht kein keine keinen keinem keiner nie niemals niemand nichts pas jamais aucun aucune nunca niet geen""".split()
)

_NOT_CONTRACTED = re.compile(r"n['’]t$")
_POSSESSIVE = re.compile(r"['’]s?$")


@dataclass(frozen=True)
class Word:
    """A content word or number of a text, or a negation."""

    text: str
    stem: str
    """For comparing; for a number its digits."""
    start: int
    end: int
    position: int
    """Counted in words of the text, function words included."""
    is_name: bool
    """Begins with a capital letter; at the start of a sentence that may mean nothing (`is_first`)."""
    is_first: bool
    is_negation: bool = False
    number: Number | None = None


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the stem of a word in lower case, without accents: "Cities" and "city's" are one."""
    folded = fold(word)
    plain = _POSSESSIVE.sub("", folded) or folded
    if plain in _IRREGULAR:
        return _IRREGULAR[plain]
    with _stemmer_lock:
        return str(_stemmer().stemWord(plain))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    return snowballstemmer.stemmer("english")


_stemmer_lock = threading.Lock()
"""A stemmer keeps a state while it works."""


def fold(text: str) -> str:
    """Return a text in lower case without accents: "Beyoncé" as "beyonce"."""
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'").casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def words_of(text: str) -> tuple[Word, ...]:
    """Return the content words of a sentence: names, numbers, negations, and all words but function words."""
    tokens = tokens_of(text)
    words: list[Word] = []
    index = 0
    while index < len(tokens):
        number, used = number_at(tokens, index)
        token = tokens[index]
        if number is not None:
            end = tokens[index + used - 1].end
            words.append(
                Word(
                    text[token.start : end],
                    f"{number.value:.15g}",
                    token.start,
                    end,
                    index,
                    False,
                    index == 0,
                    number=number,
                )
            )
            index += used
            continue
        word = _word(token, index)
        if word is not None:
            words.append(word)
        index += 1
    return tuple(words)


def count_words(text: str) -> int:
    """Return how many words a text has, separated by white space."""
    return len(text.split())


def stems(words: Iterable[Word]) -> set[str]:
    """Return the stems of words, and the units of numbers."""
    found = set()
    for word in words:
        found.add(word.stem)
        if word.number is not None and word.number.unit:
            found.add(stem(word.number.unit))
    return found


def _word(token: Token, index: int) -> Word | None:
    """Return the word that a token stands for; None for a function word."""
    lower = fold(token.text)
    is_negation = lower in NEGATIONS or bool(_NOT_CONTRACTED.search(lower))
    # In capitals or within a sentence, "US" and "IT" are names; "I" is not.
    is_capitalized = token.text[0].isupper()
    is_acronym = len(token.text) > 1 and token.text.isupper()
    is_month = token.text == "May" and index > 0
    if not is_negation and (lower in FUNCTION_WORDS and not is_acronym and not is_month or not lower[0].isalnum()):
        return None
    if not is_negation and len(lower) == 1 and lower.isascii() and not is_capitalized:
        return None
    name = "not" if is_negation and _NOT_CONTRACTED.search(lower) else lower
    return Word(
        token.text,
        stem(name),
        token.start,
        token.end,
        index,
        is_capitalized and not is_negation,
        index == 0,
        is_negation,
    )


_IRREGULAR_FORMS = """
be is was were are been being; begin began begun; become became; born birth; break broke broken; bring brought; build
built; buy bought; catch caught; choose chose chosen choice; come came; die died death dead; draw drew drawn; drive
drove driven; eat ate eaten; fall fell fallen; feel felt; fight fought; fly flew flown flight; forget forgot
forgotten; get got gotten; give gave given; go went gone; grow grew grown growth; hear heard; hold held; keep kept;
know knew known; lead led; light lit; leave left; lend lent; lose lost loss; make made; mean meant; meet met; pay paid
payment; rise rose risen; run ran; say said; see saw seen; sell sold; send sent; shoot shot; sing sang sung; sit sat;
speak spoke spoken speech; spend spent; stand stood; steal stole stolen; swim swam swum; take took taken; teach
taught; tell told; think thought; throw threw thrown; wear wore worn; win won; write wrote written; child children;
man men; woman women; person people; foot feet; mouse mice; high height; long length; deep depth; wide width; strong
strength
"""
_IRREGULAR = {
    form: forms.split()[0] for forms in _IRREGULAR_FORMS.replace("\n", " ").split(";") for form in forms.split()
}
"""Forms that the stemmer does not bring together."""

MONTHS = frozenset(
    map(
        stem,
        """january jan february feb march april apr may june jun july jul august aug september sep sept october oct
        november nov december dec""".split(),
    )
)
"""By stems."""
