"""Where sentences, clauses and words end."""

import re
from collections.abc import Iterator

import sentencex

LANGUAGE = "en"
"""For the abbreviations of the splitter. Its rules for punctuation hold for every script, Chinese and Arabic too."""

_GERMAN_ORDINAL = re.compile(r"(?<![\w.,])\d{1,2}\.$")
_AFTER_GERMAN_ORDINAL = re.compile(
    r"[ \t\u00a0]+(?:J(?:anuar|änner|uni|uli|ahrhunderts?)|Februar|März|April|Mai|August|September|Oktober|November|"
    r"Dezember)\b"
)
_CLAUSE_END = re.compile(r"[,;:)\]–—](?=\s)\s+|[、，；：]\s*|\n")
_SPACE = re.compile(r"\s+")


def sentence_ranges(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each sentence starts and ends (exclusive), without the white space around it."""
    position = 0
    first: int | None = None
    for sentence in sentencex.segment(LANGUAGE, text):
        words = sentence.strip()
        if words:
            start = text.index(words, position)
            position = start + len(words)
            first = start if first is None else first
            # The splitter for English ends a sentence in "am 31. Dezember".
            if _GERMAN_ORDINAL.search(words) and _AFTER_GERMAN_ORDINAL.match(text, position):
                continue
            yield first, position
            first = None


def clause_starts(text: str) -> list[int]:
    """Return where clauses begin, but for the first."""
    return [match.end() for match in _CLAUSE_END.finditer(text) if match.end() < len(text)]


def word_starts(text: str) -> list[int]:
    """Return where words begin, but for the first."""
    return [match.end() for match in _SPACE.finditer(text) if match.end() < len(text)]
