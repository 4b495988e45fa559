"""Where clauses end, judged by punctuation and conjunctions."""

import re

_BREAK = re.compile(r"[,;:()—–]|\b(?:but|while|whereas|although)\b", re.I)
_CLAUSE_BORDER = re.compile(r"[;,]\s|\b(?:but|while|whereas)\b", re.I)
_PHRASE_BORDER = re.compile(r"[;,]\s|\b(?:and|but|while|whereas)\b", re.I)


def end_of_clause(text: str, start: int) -> int:
    """Return where the clause that has the character `start` ends, at the latest with the text."""
    stop = _BREAK.search(text, start)
    return len(text) if stop is None else stop.start()


def clause_ranges(text: str) -> list[tuple[int, int]]:
    """Return where the clauses of a sentence start and end (exclusive)."""
    return _ranges_between(_CLAUSE_BORDER, text)


def phrase_ranges(text: str) -> list[tuple[int, int]]:
    """Return where the clauses of a sentence start and end (exclusive), and also the parts around each "and"."""
    return _ranges_between(_PHRASE_BORDER, text)


def _ranges_between(border: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    starts = [0, *(match.end() for match in border.finditer(text))]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))
