"""Outcomes of calls, so that a call that is made again after a crash has the first call's outcome.

An outcome is stored in the transaction that makes the change: both are there after a crash, or neither. It holds
numbers and tokens only, no text of a file.
"""

import time
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from deployments.library.tables import OutcomeRow

KEPT_S = 3600.0
"""A call is replayed within its deadline, so an hour is plenty."""
MAX_KEPT = 10_000

Outcome = dict[str, Any]


def earlier_outcome(session: Session, request_id: str | None) -> Outcome | None:
    """Return what an earlier call with this id returned, if there was one."""
    if request_id is None:
        return None
    return session.scalar(select(OutcomeRow.outcome).where(OutcomeRow.request_id == request_id))


def keep_outcome(session: Session, request_id: str | None, outcome: Outcome) -> None:
    """Store what this call returns, and drop the outcomes that are old or too many."""
    if request_id is None:
        return
    now = time.time()
    session.add(OutcomeRow(request_id=request_id, time=now, outcome=outcome))
    session.flush()
    # The clock may have been set back, so outcomes of the future go, too.
    session.execute(delete(OutcomeRow).where((OutcomeRow.time < now - KEPT_S) | (OutcomeRow.time > now + KEPT_S)))
    num_kept = session.scalar(select(func.count()).select_from(OutcomeRow)) or 0
    if num_kept > MAX_KEPT:
        oldest = select(OutcomeRow.request_id).order_by(OutcomeRow.time).limit(num_kept - MAX_KEPT)
        session.execute(delete(OutcomeRow).where(OutcomeRow.request_id.in_(oldest)))
