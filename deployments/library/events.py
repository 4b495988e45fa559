"""Changes of files, in the order in which they happened; the last ones are kept in the database.

An event is written in the transaction of its change, so after a crash none is missing and none is there of a change
that was lost.
"""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from deployments.library.tables import EventRow, FileRow
from deployments.library.types import FileEvent

MAX_KEPT = 2000
MAX_RETURNED = 500


def add_event(session: Session, file: FileRow) -> None:
    """Note the present status and progress of a file."""
    _add(
        session,
        EventRow(
            file_id=file.id,
            status=file.status,
            stage=file.stage,
            fraction=file.fraction,
            eta_s=file.eta_s,
            message=file.message,
        ),
    )


def add_deletion(session: Session, file_id: int) -> None:
    """Note that a file was deleted, and clear the messages of its earlier events, which may quote it."""
    session.execute(delete(EventRow).where(EventRow.file_id == file_id))
    _add(session, EventRow(file_id=file_id, status="deleted", stage="deleted", fraction=1.0, message=""))


def events_after(session: Session, since: int) -> list[FileEvent]:
    """Return the kept events after number `since`, oldest first, at most MAX_RETURNED."""
    rows = session.scalars(select(EventRow).where(EventRow.seq > since).order_by(EventRow.seq).limit(MAX_RETURNED))
    return [row.record() for row in rows]


def latest_event(session: Session) -> list[FileEvent]:
    """Return the last event; empty if there is none."""
    rows = session.scalars(select(EventRow).order_by(EventRow.seq.desc()).limit(1))
    return [row.record() for row in rows]


def _add(session: Session, row: EventRow) -> None:
    session.add(row)
    session.flush()
    session.execute(delete(EventRow).where(EventRow.seq <= row.seq - MAX_KEPT))
