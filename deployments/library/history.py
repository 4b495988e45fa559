"""The searches that were made, newest first."""

import time

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from deployments.library.tables import HistoryRow
from deployments.library.types import HistoryPage

MAX_KEPT = 10_000


def add_search(session: Session, query: str, results_count: int, response_time_ms: float) -> None:
    row = HistoryRow(
        query=query, results_count=results_count, search_time=time.time(), response_time_ms=response_time_ms
    )
    session.add(row)
    session.flush()
    session.execute(delete(HistoryRow).where(HistoryRow.id <= row.id - MAX_KEPT))


def list_searches(session: Session, limit: int, offset: int) -> HistoryPage:
    rows = session.scalars(select(HistoryRow).order_by(HistoryRow.id.desc()).limit(limit).offset(offset))
    total = session.scalar(select(func.count()).select_from(HistoryRow)) or 0
    return HistoryPage([row.record() for row in rows], total)


def clear_searches(session: Session) -> int:
    """Delete all, and return how many there were."""
    total = session.scalar(select(func.count()).select_from(HistoryRow)) or 0
    session.execute(delete(HistoryRow))
    return total
