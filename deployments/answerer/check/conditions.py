"""Conditions: whether a claim leaves out under which condition its evidence says it."""

import re
from collections.abc import Iterator

from deployments.answerer.check.claim import Claim
from deployments.answerer.check.evidence import Evidence
from deployments.answerer.check.matching import is_in

_CONDITION = re.compile(
    r"(?:,? (?:but|and) (?=only\b))?\b(?:"
    r"(?:only )?if(?! (?:not|any|anything|ever|only|possible|necessary|so)\b| \w+[\"”]?,)"
    r"|unless|provided that|on condition that|in case|so long as"
    r"|as long as (?=(?:it|they|he|she|we|you|there|nobody|no|the \w+ (?:is|are|has|have))\b)"
    r"|(?P<only>(?<!not )only (?:when|where|in|on|with|for|after|at|by|to|during|until|from|under|through))"
    r"|wenn|sofern|es sei denn"
    r")\b",
    re.I,
)
"""How a condition begins, in English and German. "Few, if any" and "solid, if slow, work" have none."""
_ANY_CONDITION = re.compile(r"\b(?:if|unless|only|provided|case|long as|when|wenn|sofern|nur)\b", re.I)
"""In a claim: then it leaves no condition out, or another test compares it."""
_NO_CONDITION_BEFORE = re.compile(
    r"\b(?:even|as|know\w*|knew|see|saw|ask\w*|wonder\w*|determin\w*|decid\w*|tell|told|check\w*|test\w*|find out|"
    r"unclear|unknown|uncertain|unsure|doubt\w*|question|matter)\s+$",
    re.I,
)
"""Before "if" that stands for "whether" or "although"."""
_END = re.compile(r"[,;:.)]|\bbut\b", re.I)
"""Behind a condition."""
_BORDER = re.compile(r"[;:(“\"]|,\s*(?:and|but|while|whereas|who|which)\b", re.I)
"""Between what depends on a condition and other clauses."""
_BORDER_OF_ONLY = re.compile(r"[,;:(“\"]")
"""Between what depends on "only with" and the rest: "on a hill, accessible only by foot"."""


def drops_condition(claim: Claim, evidence: Evidence) -> bool:
    """Return whether evidence says what is new in the claim under a condition only, which neither the claim nor the
    question has: "The bridge is closed" for "The bridge is closed if the wind is strong"."""
    if _ANY_CONDITION.search(claim.text):
        return False
    new = claim.new_words or claim.words
    for sentence in evidence.sentences:
        for condition, dependent in _conditions(sentence.text):
            condition_words = [word for word in sentence.words if word.start in condition]
            dependent_words = [word for word in sentence.words if word.start in dependent]
            elsewhere = [word for word in evidence.words if word not in (*condition_words, *dependent_words)]
            own_words = [word for word in condition_words if not is_in(word, dependent_words)]
            is_known = any(is_in(word, claim.words) or claim.is_given(word) for word in own_words)
            is_new_dependent = any(is_in(word, dependent_words) and not is_in(word, elsewhere) for word in new)
            if condition_words and not is_known and is_new_dependent:
                return True
    return False


def _conditions(text: str) -> Iterator[tuple[range, range]]:
    """Yield the characters of each condition of a sentence, and those of the clause that depends on it."""
    for match in _CONDITION.finditer(text):
        if _NO_CONDITION_BEFORE.search(text, 0, match.start()):
            continue
        stop = _END.search(text, match.end())
        end = len(text) if stop is None else stop.start()
        border = _BORDER_OF_ONLY if match["only"] else _BORDER
        before = [found.end() for found in border.finditer(text, 0, match.start())]
        start = before[-1] if before else 0
        if text[start : match.start()].strip():
            yield range(match.start(), end), range(start, match.start())
        else:
            following = border.search(text, end + 1)
            yield range(match.start(), end), range(end, len(text) if following is None else following.start())
