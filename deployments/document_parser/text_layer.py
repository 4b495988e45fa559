"""Tells whether a page's text layer is text.

A font without a usable table of characters makes pdfium give the glyphs' numbers, or letters that stand for others.
The page looks well, and its text is garbage.
"""

import re
import unicodedata
from collections import Counter

MAX_PAGE_CHARS = 500_000
"""More than can be displayed on a page."""

_MAX_UNREADABLE = 0.2
"""Share of characters that stand for nothing. Bullets and formulas of real pages stay far below."""
_MIN_LETTERS = 60
"""A shorter text does not show how often vowels occur."""
_MIN_VOWELS = 0.18
"""Share among Latin letters. Texts of European languages have more than .3; glyph numbers read as letters .14."""
_MAX_WORD_CHARS = 60
"""Of Latin letters; longer on average, where spaces are lost."""

_VOWELS = frozenset("AEIOUYaeiouy")
_UNREADABLE_CATEGORIES = {"Cc", "Co", "Cn", "Cs"}
_REPLACEMENT_CHARACTER = "\ufffd"
_MARKS = {"\x02"}
"""Stand for a hyphen at the end of a line."""


def is_readable(text: str) -> bool:
    """Return whether `text` can be words; False for the empty text."""
    counts = Counter(text)
    num_visible = sum(count for char, count in counts.items() if not char.isspace() and char not in _MARKS)
    if not num_visible or len(text) > MAX_PAGE_CHARS:
        return False
    if sum(count for char, count in counts.items() if _is_unreadable(char)) > _MAX_UNREADABLE * num_visible:
        return False
    num_letters = num_vowels = 0
    for char, count in counts.items():
        letter = unicodedata.normalize("NFD", char)[0]
        if letter.isascii() and letter.isalpha():
            num_letters += count
            num_vowels += count if letter in _VOWELS else 0
    if num_letters < _MIN_LETTERS:
        return True
    return num_vowels >= _MIN_VOWELS * num_letters and num_letters <= _MAX_WORD_CHARS * len(text.split())


def _is_unreadable(char: str) -> bool:
    if char.isspace() or char in _MARKS:
        return False
    return char == _REPLACEMENT_CHARACTER or unicodedata.category(char) in _UNREADABLE_CATEGORIES


_COMPATIBILITY = re.compile("[\u2e80-\u2fdf\uf900-\ufaff\ufb00-\ufdff\ufe70-\ufefc]+")
"""Ligatures, Arabic letters in the form of their place in a word, and doubles of Chinese characters."""
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd\ufffe\uffff\ue000-\uf8ff\U000f0000-\U0010ffff\ud800-\udfff]"
)


def clean(text: str) -> str:
    """Return the text as it is searched for: ligatures as letters, without characters that stand for nothing."""
    text = _COMPATIBILITY.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return _UNPRINTABLE.sub("", text)
