"""Words of the library that a misspelt word may mean."""

import threading
from collections import defaultdict
from collections.abc import Iterable

from rapidfuzz import process
from rapidfuzz.distance import OSA

MIN_LENGTH = 4
"""Shorter terms have too many neighbours to be corrected."""
_LENGTH_FOR_TWO_ERRORS = 8
_MAX_LENGTH = 32


class Spelling:
    """The terms of the library, in memory, by their length."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._by_length: dict[int, list[str]] = defaultdict(list)

    def add(self, terms: Iterable[str]) -> None:
        """Add terms. Those of deleted files stay until the library is opened again: they find nothing then."""
        with self._lock:
            for term in terms:
                if term.isalpha() and len(term) <= _MAX_LENGTH and term not in self._known:
                    self._known.add(term)
                    self._by_length[len(term)].append(term)

    def corrections(self, term: str) -> list[str]:
        """Return the terms that differ from `term` by the fewest letters that are wrong, missing, surplus or swapped
        with their neighbour: at most one, in long words two."""
        if not term.isalpha() or not MIN_LENGTH <= len(term) <= _MAX_LENGTH:
            return []
        max_errors = 2 if len(term) >= _LENGTH_FOR_TWO_ERRORS else 1
        found: dict[int, list[str]] = defaultdict(list)
        with self._lock:
            for length in range(len(term) - max_errors, len(term) + max_errors + 1):
                candidates = self._by_length.get(length, ())
                for candidate, errors, _ in process.extract_iter(
                    term, candidates, scorer=OSA.distance, score_cutoff=max_errors
                ):
                    found[errors].append(candidate)
        return sorted(found[min(found)]) if found else []
