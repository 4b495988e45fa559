"""Reads the numbers of a text, however they are written: "1,500,000", "1.5 million", "twenty-five", "the 3rd"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.answerer.tokens import CURRENCIES, UNITS, Token

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

_DECIMAL = re.compile(r"\d+(?:\.\d+)?|0,\d+|\d+,\d{1,2}|\d{1,3},\d{4,}")
"""A whole number, or one with a decimal point or comma. Three digits behind a comma are thousands, but for "0,500"."""
_GROUPED = re.compile(
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?"
    r"|\d{1,3}(?:\.\d{3})+,\d+"
    r"|\d{1,3}(?:['’]\d{3})+(?:[.,]\d+)?"
    r"|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?:[.,]\d+)?"
)
"""With separators of thousands, in this order: English, Indian, German, Swiss, and spaces that do not break."""
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}\.\d{3}")
_SEPARATOR = re.compile(r"\D")


@dataclass(frozen=True)
class Number:
    value: float
    unit: str
    """Empty if none is written beside it."""
    kind: str
    """`cardinal`, `ordinal`, or `decade` (1980s)."""
    is_ambiguous: bool = False
    """Whether it is written like "1.500": one and a half in English (this is `value`), fifteen hundred in German."""

    @property
    def is_year(self) -> bool:
        """Whether it may be a year: from 1000 to 2100, without a unit."""
        return not self.unit and 1000 <= self.value <= 2100

    def agrees_with(self, other: "Number") -> bool:
        """Return whether both say the same. "2", "two" and "the second" do, and "1.5" and "1.50"; "1980" and "1980s" do
        not, nor do numbers with different units. An ambiguous number says the same as one that is written like it."""
        same_kind = self.kind == other.kind or {self.kind, other.kind} == {"cardinal", "ordinal"}
        same_unit = self.unit == other.unit or not self.unit or not other.unit
        same_value = self.value == other.value and self.is_ambiguous == other.is_ambiguous
        return same_value and same_kind and same_unit


def number_at(tokens: Sequence[Token], index: int) -> tuple[Number | None, int]:
    """Return the number that begins at a token, with its unit, and how many tokens it takes; None and 0 if there is
    none."""
    unit = ""
    used = 0
    token = tokens[index]
    if token.text.lower() in CURRENCIES:
        if index + 1 == len(tokens) or not tokens[index + 1].digits:
            return None, 0
        unit = UNITS[token.text.lower()]
        used = 1
        token = tokens[index + 1]
    value, kind, length = _value(tokens, index + used)
    if value is None:
        return None, 0
    is_ambiguous = bool(_AMBIGUOUS.fullmatch(token.digits))
    used += length
    following = tokens[index + used].text.lower() if index + used < len(tokens) else ""
    if unit and following == "m":
        return Number(value * 1e6, unit, kind, is_ambiguous), used + 1
    is_next_amount = (
        following in CURRENCIES and index + used + 1 < len(tokens) and bool(tokens[index + used + 1].digits)
    )
    singular = following.removesuffix("s") if following not in UNITS else following
    if not unit and singular in UNITS and not is_next_amount:
        unit = UNITS[singular]
        used += 1
    return Number(value, unit, kind, is_ambiguous), used


def _value(tokens: Sequence[Token], index: int) -> tuple[float | None, str, int]:
    """Return the value of the number that begins at a token, its kind and how many tokens it takes; None if there is
    none."""
    token = tokens[index]
    if token.digits:
        return _digits(tokens, index)
    lower = token.text.lower()
    if lower == "twice":
        return 2.0, "cardinal", 1
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


def _is_counted(tokens: Sequence[Token], index: int) -> bool:
    """Return whether "one" is a number: "one million" and "one year", not "one of them"."""
    return index + 1 < len(tokens) and tokens[index + 1].text.lower() in (_SCALES | UNITS)


def _digits(tokens: Sequence[Token], index: int) -> tuple[float | None, str, int]:
    """Return the same as `_value` for a token of digits."""
    token = tokens[index]
    value = _decimal_value(token.digits)
    if value is None:
        return None, "", 0
    value, kind, used = -value if token.is_negative else value, "cardinal", 1
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


def _decimal_value(digits: str) -> float | None:
    """Return the value of digits with separators; None for what is no number, such as a version or an address."""
    if _DECIMAL.fullmatch(digits):
        return float(digits.replace(",", "."))
    if not _GROUPED.fullmatch(digits):
        return None
    *groups, last = _SEPARATOR.split(digits)
    separators = _SEPARATOR.findall(digits)
    # The last separator is that of the decimals if it is another one than before.
    has_decimals = separators[-1] != separators[0]
    return float(f"{''.join(groups)}.{last}" if has_decimals else "".join((*groups, last)))
