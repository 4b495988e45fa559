"""Numbers that survive a restart."""

import random
import time

from sqlalchemy.orm import Session

from deployments.library.tables import CounterRow, chunk_id_range
from deployments.library.types import FileType

_DELETED_SINCE = "deleted since"
"""Epoch seconds; only there while `compact` has something to overwrite."""
_DELETIONS = "deletions"
"""Their number, so that those during `compact` are noticed."""
_DATABASE_ID = "database id"


def next_chunk_ids(session: Session, file_type: FileType, count: int) -> range:
    """Return chunk ids that were never given before."""
    first, _ = chunk_id_range(file_type)
    name = f"last {file_type} chunk"
    counter = session.get(CounterRow, name)
    if counter is None:
        counter = CounterRow(name=name, value=first - 1)
        session.add(counter)
    start = int(counter.value) + 1
    counter.value = start + count - 1
    return range(start, start + count)


def note_deletion(session: Session) -> None:
    """Note that `compact` has something to overwrite."""
    session.merge(CounterRow(name=_DELETIONS, value=num_deletions(session) + 1))
    if session.get(CounterRow, _DELETED_SINCE) is None:
        session.add(CounterRow(name=_DELETED_SINCE, value=time.time()))


def num_deletions(session: Session) -> int:
    counter = session.get(CounterRow, _DELETIONS)
    return 0 if counter is None else int(counter.value)


def deleted_since(session: Session) -> float | None:
    """Return when the first deletion was that `compact` has not overwritten."""
    counter = session.get(CounterRow, _DELETED_SINCE)
    return None if counter is None else counter.value


def forget_deletions(session: Session, count: int) -> None:
    """Note that the first `count` deletions are overwritten."""
    counter = session.get(CounterRow, _DELETED_SINCE)
    if counter is not None and num_deletions(session) == count:
        session.delete(counter)
    elif counter is not None:
        counter.value = time.time()


def database_id(session: Session) -> int | None:
    """Return the number by which a folder and its database know each other (database_id.py)."""
    counter = session.get(CounterRow, _DATABASE_ID)
    return None if counter is None else int(counter.value)


def new_database_id(session: Session) -> int:
    """Give the database another number, and return it."""
    value = random.SystemRandom().randrange(1, 2**53)  # whole numbers that a float holds
    session.merge(CounterRow(name=_DATABASE_ID, value=value))
    return value
