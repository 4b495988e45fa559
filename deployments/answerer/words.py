"""What a sentence says, as words, numbers and names that can be compared with those of another sentence.

Function words and stems are those of English. Of other scripts, words are compared as they are written.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import snowballstemmer

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

_UNITS = {
    "%": "percent",
    "percent": "percent",
    "percentage": "percent",
    "$": "dollar",
    "us$": "dollar",
    "usd": "dollar",
    "dollar": "dollar",
    "€": "euro",
    "eur": "euro",
    "euro": "euro",
    "£": "pound",
    "gbp": "pound",
    "km": "kilometre",
    "kilometre": "kilometre",
    "kilometer": "kilometre",
    "m": "metre",
    "metre": "metre",
    "meter": "metre",
    "cm": "centimetre",
    "centimetre": "centimetre",
    "centimeter": "centimetre",
    "mm": "millimetre",
    "millimetre": "millimetre",
    "millimeter": "millimetre",
    "mi": "mile",
    "mile": "mile",
    "ft": "foot",
    "foot": "foot",
    "feet": "foot",
    "inch": "inch",
    "inches": "inch",
    "kg": "kilogram",
    "kilogram": "kilogram",
    "g": "gram",
    "gram": "gram",
    "mg": "milligram",
    "milligram": "milligram",
    "lb": "pound",
    "lbs": "pound",
    "pound": "pound",
    "ton": "ton",
    "tonne": "ton",
    "litre": "litre",
    "liter": "litre",
    "ml": "millilitre",
    "second": "second",
    "minute": "minute",
    "hour": "hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "year",
    "decade": "decade",
    "century": "century",
    "centuries": "century",
    "kw": "kilowatt",
    "kilowatt": "kilowatt",
    "mw": "megawatt",
    "megawatt": "megawatt",
    "gw": "gigawatt",
    "gigawatt": "gigawatt",
    "°c": "celsius",
    "celsius": "celsius",
    "cent": "cent",
    "crown": "crown",
    "franc": "franc",
    "yen": "yen",
    "°f": "fahrenheit",
    "fahrenheit": "fahrenheit",
}
"""Written forms of units. Two numbers with different units differ; one without a unit may have any."""

_CURRENCIES = frozenset(("$", "€", "£", "us$", "usd", "eur", "gbp"))
"""Written before the number."""

_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen""".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL = {word: float(value) for value, word in enumerate(_ONES)} | {
    word: 10.0 * value for value, word in enumerate(_TENS, 2)
}
_ORDINALS = (
    {word + "th": value for word, value in _SMALL.items()}
    | {word[:-1] + "ieth": value for word, value in _SMALL.items() if word in _TENS}
    | {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
)
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_SCALE_MARKS = {"k": 1e3, "bn": 1e9} | _SCALES
_TIMES = {"once": 1.0, "twice": 2.0, "dozen": 12.0}

_MONTHS = """january jan february feb march april apr may june jun july jul august aug september sep sept october oct
november nov december dec""".split()

_TOKEN = re.compile(
    r"(?P<number>\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)+|\d+)(?P<suffix>(?:st|nd|rd|th|s|k|bn)\b)?(?![^\W_]|[.,]\d)"
    r"|(?P<sign>US\$|[%$€£]|°[CF]\b)"
    r"|(?P<word>\d+(?:[.,]\d+)*[^\W\d_]+|[^\W_]+(?:['’][^\W\d_]+)*)"
)
_MINUS = re.compile(r"(?:(?:^|[\s(])[-−]|\bminus )$", re.I)
_NOT_CONTRACTED = re.compile(r"n['’]t$")
_POSSESSIVE = re.compile(r"['’]s?$")
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:[.,]\d+)*)([^\W\d_]+)$")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")


@dataclass(frozen=True)
class Number:
    value: float
    unit: str
    """Empty if none is written beside it."""
    kind: str
    """`cardinal`, `ordinal`, or `decade` (1980s)."""

    def agrees_with(self, other: "Number") -> bool:
        """Return whether both say the same. "2", "two" and "the second" do; "1980" and "1980s" do not, nor do numbers
        with different units."""
        same_kind = self.kind == other.kind or {self.kind, other.kind} == {"cardinal", "ordinal"}
        same_unit = self.unit == other.unit or not self.unit or not other.unit
        return self.value == other.value and same_kind and same_unit


@dataclass(frozen=True)
class Word:
    """A word or number of a text that has a meaning of its own, or a negation."""

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


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int
    digits: str
    suffix: str
    is_negative: bool = False


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


def analyse(text: str) -> tuple[Word, ...]:
    """Return the words of a sentence that have a meaning of their own: names, numbers, negations, and all words but
    function words."""
    tokens = _tokens(text)
    words: list[Word] = []
    index = 0
    while index < len(tokens):
        number, used = _number(tokens, index)
        token = tokens[index]
        if number is not None:
            end = tokens[index + used - 1].end
            value = f"{number.value:g}" if number.value < 1e6 else f"{number.value:.0f}"
            words.append(
                Word(text[token.start : end], value, token.start, end, index, False, index == 0, number=number)
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


def _tokens(text: str) -> list[_Token]:
    # "U.S." is one word, not two.
    text = _INITIALS.sub(lambda match: match[0].replace(".", "") + " " * match[0].count("."), text)
    tokens = []
    for match in _TOKEN.finditer(text):
        if match["number"]:
            is_negative = bool(_MINUS.search(text[: match.start()]))
            tokens.append(
                _Token(match[0], match.start(), match.end(), match["number"], match["suffix"] or "", is_negative)
            )
            continue
        attached = _NUMBER_AND_UNIT.match(match[0])
        if attached and attached[2].lower() in _UNITS:
            middle = match.start() + len(attached[1])
            tokens.append(_Token(attached[1], match.start(), middle, attached[1], ""))
            tokens.append(_Token(attached[2], middle, match.end(), "", ""))
        else:
            tokens.append(_Token(match[0], match.start(), match.end(), "", ""))
    return tokens


def _word(token: _Token, index: int) -> Word | None:
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


def _number(tokens: Sequence[_Token], index: int) -> tuple[Number | None, int]:
    """Return the number that begins at a token, with its unit, and how many tokens it takes."""
    unit = ""
    used = 0
    token = tokens[index]
    if token.text.lower() in _CURRENCIES:
        if index + 1 == len(tokens) or not tokens[index + 1].digits:
            return None, 0
        unit = _UNITS[token.text.lower()]
        used = 1
        token = tokens[index + 1]
    value, kind, length = _value(tokens, index + used)
    if value is None:
        return None, 0
    used += length
    following = tokens[index + used].text.lower() if index + used < len(tokens) else ""
    if unit and following == "m":
        return Number(value * 1e6, unit, kind), used + 1
    is_next_amount = (
        following in _CURRENCIES and index + used + 1 < len(tokens) and bool(tokens[index + used + 1].digits)
    )
    singular = following.removesuffix("s") if following not in _UNITS else following
    if not unit and singular in _UNITS and not is_next_amount:
        unit = _UNITS[singular]
        used += 1
    return Number(value, unit, kind), used


def _value(tokens: Sequence[_Token], index: int) -> tuple[float | None, str, int]:
    token = tokens[index]
    if token.digits:
        return _digits(tokens, index)
    lower = token.text.lower()
    if lower in _TIMES and lower != "dozen":
        return (_TIMES[lower], "cardinal", 1) if lower == "twice" else (None, "", 0)
    if lower in _ORDINALS:
        return float(_ORDINALS[lower]), "ordinal", 1
    if lower not in _SMALL or lower == "one" and not _is_counted(tokens, index):
        return None, "", 0
    total, current, used = 0.0, _SMALL[lower], 1
    kind = "cardinal"
    while index + used < len(tokens):
        following = tokens[index + used].text.lower()
        if following in _SMALL and current % 100 >= 20 and current % 10 == 0 and _SMALL[following] < 10:
            current += _SMALL[following]
        elif following in _ORDINALS and current % 100 >= 20 and current % 10 == 0 and _ORDINALS[following] < 10:
            return total + current + _ORDINALS[following], "ordinal", used + 1
        elif following in _SMALL and current >= 100 and current % 100 == 0:
            current += _SMALL[following]
        elif following == "hundred":
            current *= 100
        elif following in _SCALES:
            total, current = total + current * _SCALES[following], 0.0
        else:
            break
        used += 1
    return total + current, kind, used


def _is_counted(tokens: Sequence[_Token], index: int) -> bool:
    """Return whether "one" is a number: "one million" and "one year", not "one of them"."""
    return index + 1 < len(tokens) and tokens[index + 1].text.lower() in (_SCALES | _UNITS)


def _digits(tokens: Sequence[_Token], index: int) -> tuple[float | None, str, int]:
    token = tokens[index]
    plain = token.digits.replace(",", "")
    if plain.count(".") > 1:  # a version or an address
        return None, "", 0
    value, kind, used = -float(plain) if token.is_negative else float(plain), "cardinal", 1
    if token.suffix in ("st", "nd", "rd", "th"):
        kind = "ordinal"
    elif token.suffix == "s":
        kind = "decade"
    elif token.suffix:
        value *= _SCALE_MARKS[token.suffix]
    if index + used < len(tokens) and tokens[index + used].text.lower() in _SCALE_MARKS and kind == "cardinal":
        value *= _SCALE_MARKS[tokens[index + used].text.lower()]
        used += 1
    return value, kind, used


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

MONTHS = frozenset(stem(month) for month in _MONTHS)
"""By stems."""
