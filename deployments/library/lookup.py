"""How the words' index is asked, so that common words do not make a search slow.

FTS5 computes BM25 for each chunk that matches, at about a microsecond for each of the query's words in it. A common
word matches most chunks and says little. So only the rarer words decide which chunks are ranked; the others count in
the rank of those.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_RANKED = 50_000
"""Chunks that one search ranks, about. If the rarest word is in more of them, the newest ones are ranked."""
MAX_COUNTED = 1_000_000
"""Occurrences of all the words that count. More of them would not be slow to rank, but to be counted, for BM25."""


@dataclass(frozen=True)
class Counted:
    """An FTS5 expression, and the number of chunks that it matches at most."""

    expression: str
    count: int


@dataclass(frozen=True)
class Lookup:
    expression: str
    count: int
    """Chunks that the expression matches, at most."""


def phrase(text: str) -> str:
    """Return the FTS5 expression for words that follow one another; `text` is as it is indexed."""
    return '"' + text.replace('"', '""') + '"'


def any_of(expressions: Iterable[str]) -> str:
    """Return the FTS5 expression for chunks that match at least one of some expressions."""
    return "(" + " OR ".join(expressions) + ")"


def all_of(expressions: Iterable[str]) -> str:
    """Return the FTS5 expression for chunks that match all of some expressions."""
    return "(" + " AND ".join(expressions) + ")"


def plan_lookup(required: Sequence[Counted], wanted: Sequence[Counted]) -> Lookup | None:
    """Return the lookup of chunks that match all of `required` and, if there is none, at least one of `wanted`; the
    more of them, the higher they rank. None if nothing can match."""
    counting = _rarest(wanted, MAX_COUNTED)
    if required:
        expressions = [part.expression for part in required]
        everything = any_of([*expressions, *(part.expression for part in counting)])
        return Lookup(all_of([*expressions, everything]), min(part.count for part in required))
    if not counting:
        return None
    deciding = _rarest(counting, MAX_RANKED)
    expression = any_of(part.expression for part in deciding)
    if len(deciding) < len(counting):
        expression = all_of([expression, any_of(part.expression for part in counting)])
    return Lookup(expression, sum(part.count for part in deciding))


def _rarest(parts: Sequence[Counted], max_count: int) -> list[Counted]:
    """Return the rarest expressions that match at most `max_count` chunks together, and at least one."""
    chosen: list[Counted] = []
    total = 0
    for part in sorted(parts, key=lambda part: (part.count, part.expression)):
        total += part.count
        if chosen and total > max_count:
            break
        chosen.append(part)
    return chosen
