"""Counts the threads of a process, for the tests that bound them."""

from collections import Counter
from pathlib import Path


def threads_by_niceness(pid: int | str = "self") -> Counter[int]:
    """Return how many threads there are of each niceness."""
    counts: Counter[int] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            # proc(5): the name in parentheses is field 2; niceness is field 19.
            counts[int((task / "stat").read_text().rpartition(")")[2].split()[16])] += 1
        except FileNotFoundError:
            continue  # it has ended
    return counts
