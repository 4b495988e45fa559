"""From what the recognition network sees on a line to its text: spaces, and characters that look alike.

The network was trained on Chinese and Latin text. It is unsure where one script's character looks like another's, and
where the space between two words is narrow.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.media import Pixels

MIN_RIVAL_PROBABILITY = 0.03
"""What the network takes for one character may be another that looks like it, if it gives that so much. Where it took
an @ for a digit it gave the @ .03 to .27, where it took letters for digits it gave them .06 to .46; where a digit stood
it never gave the @ .01 (measured on receipts)."""
_SIGNS = {"0": "@", "6": "@", "\N{MULTIPLICATION SIGN}": "xX"}
"""These are taken wherever they are possible: they are rarely given any probability."""
_LETTERS = {"0": "Oo", "1": "lI"}
"""These are taken in words of letters only."""
MIN_LETTERS = 2
"""A word has at least so many letters, if its digits are to be taken for letters."""

_MIN_CONTRAST = 8
_INK = 0.35
"""What differs from the paper by so much of the difference that the darkest print has is ink."""
_RULE = 0.8
"""A row of pixels with ink in so much of it is a rule, such as an underline."""


@dataclass(frozen=True)
class Character:
    """A character that the network sees, and what it could be instead."""

    value: str
    rivals: dict[str, float]
    """Characters that look like it, with their probabilities."""


def rivals_of(character: str) -> str:
    """Return the characters that a character can be mistaken for."""
    return _SIGNS.get(character, "") + _LETTERS.get(character, "")


def spelled(characters: Sequence[Character]) -> str:
    """Return the text of a line, which has as many characters as were given.

    Full-width forms become ASCII. A digit that may be an @ becomes one, and a multiplication sign that may be a letter
    becomes that, as it would be typed. In a word of letters the digits 0 and 1 become letters if all of them may.
    """
    text = [_best_rival(character, _SIGNS) or _as_ascii(character.value) for character in characters]
    for word in re.finditer(r"\S+", "".join(text)):
        digits = [index for index in range(*word.span()) if text[index].isdigit()]
        letters = [_best_rival(characters[index], _LETTERS) for index in digits]
        if all(letters) and _has_digits_among_letters(word.group()):
            for index, letter in zip(digits, letters, strict=True):
                text[index] = letter
    return "".join(text)


def is_full_width(character: str) -> bool:
    """Return whether a character is a full-width form, whose box has the space after it inside."""
    return "\uff01" <= character <= "\uff5e"


def widest_gaps(line: Pixels, middles: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return for each two neighbours on a line the widest gap in the ink between them, in pixels.

    `middles` are those of the characters, in pixels from the left.
    """
    has_ink = _columns_with_ink(line)
    # The margins are no gaps, though the network may see the first and last character there.
    has_ink[: has_ink.argmax()] = True
    has_ink[len(has_ink) - has_ink[::-1].argmax() :] = True
    gaps = []
    for left, right in pairwise(np.round(middles).astype(int).tolist()):
        edges = np.flatnonzero(np.concatenate([[True], has_ink[max(0, left) : right + 1], [True]]))
        gaps.append(int(np.diff(edges).max()) - 1)
    return np.array(gaps, np.int64)


def _columns_with_ink(line: Pixels) -> NDArray[np.bool_]:
    grey = line.astype(np.float32).mean(axis=2)
    difference = np.median(grey) - grey
    if difference.max() < -difference.min():
        difference = -difference  # light print on dark paper
    is_ink = difference > _INK * max(float(np.percentile(difference, 95)), _MIN_CONTRAST)
    return np.asarray(is_ink[is_ink.mean(axis=1) < _RULE].any(axis=0))


def _has_digits_among_letters(word: str) -> bool:
    """Return whether the digits of a word are all among MIN_LETTERS letters, with no sign such as a dot between."""
    runs = [run for run in re.findall(r"\w+", word) if any(map(str.isdigit, run))]
    return all(sum(map(str.isalpha, run)) >= MIN_LETTERS for run in runs)


def _best_rival(character: Character, table: Mapping[str, str]) -> str:
    rivals = table.get(character.value, "")
    best = max(rivals, key=lambda rival: character.rivals[rival], default="")
    return best if best and character.rivals[best] >= MIN_RIVAL_PROBABILITY else ""


def _as_ascii(character: str) -> str:
    return unicodedata.normalize("NFKC", character) if is_full_width(character) else character
