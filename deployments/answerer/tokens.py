"""Splits a text into words, numbers and signs of units."""

import re
from dataclasses import dataclass

UNITS = {
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

CURRENCIES = frozenset(("$", "€", "£", "us$", "usd", "eur", "gbp"))
"""Written before the number."""

_TOKEN = re.compile(
    r"(?P<number>\d+(?:[.,'’]\d+|[\u00a0\u2009\u202f]\d{3}(?!\d))*)(?P<suffix>(?:st|nd|rd|th|s|k|bn)\b)?"
    r"(?![^\W_]|[.,'’]\d)"
    r"|(?P<sign>US\$|[%$€£]|°[CF]\b)"
    r"|(?P<word>\d+(?:[.,]\d+)*[^\W\d_]+|[^\W_]+(?:['’][^\W\d_]+)*)"
)
_MINUS = re.compile(r"(?:(?:^|[\s(])[-−]|\bminus )$", re.I)
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:[.,]\d+)*)([^\W\d_]+)$")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")


@dataclass(frozen=True)
class Token:
    text: str
    start: int
    """First character, in the text."""
    end: int
    """Exclusive."""
    digits: str
    """Of a number written in digits, with all separators between them; else empty."""
    suffix: str
    """Written right behind the digits: `st`, `nd`, `rd`, `th`, `s`, `k` or `bn`."""
    is_negative: bool = False


def tokens_of(text: str) -> list[Token]:
    """Return the words, numbers and signs of units of a text, in their order; "10km" is two."""
    # "U.S." is one word, not two.
    text = _INITIALS.sub(lambda match: match[0].replace(".", "") + " " * match[0].count("."), text)
    tokens = []
    for match in _TOKEN.finditer(text):
        if match["number"]:
            is_negative = bool(_MINUS.search(text[: match.start()]))
            tokens.append(
                Token(match[0], match.start(), match.end(), match["number"], match["suffix"] or "", is_negative)
            )
            continue
        attached = _NUMBER_AND_UNIT.match(match[0])
        if attached and attached[2].lower() in UNITS:
            middle = match.start() + len(attached[1])
            tokens.append(Token(attached[1], match.start(), middle, attached[1], ""))
            tokens.append(Token(attached[2], middle, match.end(), "", ""))
        else:
            tokens.append(Token(match[0], match.start(), match.end(), "", ""))
    return tokens
