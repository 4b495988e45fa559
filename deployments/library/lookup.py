"""How the words' index is asked, so that common words do not make a search slow.

BM25 is computed for each chunk that matches; FTS5 takes about a microsecond for each of the query's words in it. A
common word matches most chunks and says little. So only the rarer words decide which chunks are ranked; the others
count in the rank of those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_RANKED = 50_000
"""Chunks that one search ranks, about. If the rarest word is in more of them, the newest ones are ranked."""
MAX_COUNTED = 1_000_000
"""Occurrences of all the words that count. More of them would not be slow to rank, but to be counted, for BM25."""


Groups = tuple[tuple[str, ...], ...]
"""Phrases (words that follow one another), as text that is indexed: a chunk matches if it has at least one phrase of
each group. Each mention of a phrase counts in the rank."""


@dataclass(frozen=True)
class Counted:
    """A phrase, and the number of chunks that have it at most."""

    phrase: str
    count: int


@dataclass(frozen=True)
class Lookup:
    groups: Groups
    count: int
    """Chunks that match, at most."""


def plan_lookup(required: Sequence[Counted], wanted: Sequence[Counted]) -> Lookup | None:
    """Return the lookup of chunks that match all of `required` and, if there is none, at least one of `wanted`; the
    more of them, the higher they rank. None if nothing can match."""
    counting = _rarest(wanted, MAX_COUNTED)
    if required:
        everything = _phrases([*required, *counting])
        groups = (*((part.phrase,) for part in required), everything)
        return Lookup(groups, min(part.count for part in required))
    if not counting:
        return None
    deciding = _rarest(counting, MAX_RANKED)
    groups = (_phrases(deciding),)
    if len(deciding) < len(counting):
        groups = (*groups, _phrases(counting))
    return Lookup(groups, sum(part.count for part in deciding))


def _phrases(parts: Sequence[Counted]) -> tuple[str, ...]:
    return tuple(part.phrase for part in parts)


def _rarest(parts: Sequence[Counted], max_count: int) -> list[Counted]:
    """Return the rarest phrases that at most `max_count` chunks have together, and at least one."""
    chosen: list[Counted] = []
    total = 0
    for part in sorted(parts, key=lambda part: (part.count, part.phrase)):
        total += part.count
        if chosen and total > max_count:
            break
        chosen.append(part)
    return chosen
