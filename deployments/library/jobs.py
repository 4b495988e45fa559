"""Which file is indexed next, by whom, and how often it is tried.

A job is leased for a time, under a token. When the time passes, or the library is opened again, the job goes to the
next worker that asks, and calls with the old token change nothing. A job is given up when `max_attempts` leases in a
row ended without a new chunk.
"""

import time
import uuid

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from deployments.errors import ProcessingFailed
from deployments.library.events import add_event
from deployments.library.files import find_file
from deployments.library.tables import FileRow, JobRow

FIRST_DELAY_S = 2.0
"""Before the second attempt; doubled for each further one."""
MAX_DELAY_S = 300.0

_MIN_ETA_FRACTION = 0.02
"""With less done, the time that is left cannot be told."""


def queue_file(session: Session, file: FileRow) -> None:
    """Queue a file for indexing, from the start."""
    file.status, file.error_code, file.error_message = "pending", None, None
    file.set_progress("waiting", 0.0)
    session.add(JobRow(file_id=file.id, due_time=time.time(), attempts=0))
    add_event(session, file)


def lease_next(session: Session, worker: str, lease_s: float, max_attempts: int) -> JobRow | None:
    """Lease the job that has been due longest; its file becomes `processing`. Gives up jobs with no attempts left."""
    now = time.time()
    free = or_(JobRow.lease.is_(None), JobRow.lease_end < now)
    due = select(JobRow).where(JobRow.due_time <= now, free).order_by(JobRow.due_time, JobRow.id).limit(1)
    while (job := session.scalar(due)) is not None:
        file = find_file(session, job.file_id)
        if job.attempts >= max_attempts:
            message = f"Indexing this file was tried {job.attempts} times and stopped each time before it was done."
            end_with_error(session, job, file, ProcessingFailed.code, message)
            continue
        job.attempts += 1
        job.worker, job.lease, job.lease_start, job.lease_end = worker, uuid.uuid4().hex, now, now + lease_s
        file.status = "processing"
        file.set_progress("starting", 0.0)
        add_event(session, file)
        return job
    return None


def leased_job(session: Session, job_id: int, lease: str) -> JobRow | None:
    """Return the job if the token is that of its present lease."""
    job = session.get(JobRow, job_id)
    return job if job is not None and job.lease == lease else None


def renew_lease(session: Session, job: JobRow, stage: str, fraction: float, message: str, lease_s: float) -> None:
    """Note the progress, and how long the rest will take if it goes on like this."""
    now = time.time()
    job.lease_end = now + lease_s
    fraction = min(max(fraction, 0.0), 1.0)
    elapsed_s = max(0.0, now - (job.lease_start or now))
    eta_s = elapsed_s * (1 - fraction) / fraction if fraction >= _MIN_ETA_FRACTION else None
    file = find_file(session, job.file_id)
    file.set_progress(stage, fraction, message, eta_s)
    add_event(session, file)


def complete(session: Session, job: JobRow, file: FileRow, num_chunks: int) -> None:
    file.status, file.total_chunks = "completed", num_chunks
    file.set_progress("done", 1.0, file.message)
    session.delete(job)
    add_event(session, file)


def end_with_error(session: Session, job: JobRow, file: FileRow, code: str, message: str) -> None:
    """Let a file fail for good; only a retry queues it again."""
    file.status, file.error_code, file.error_message = "failed", code, message
    file.set_progress("failed", file.fraction)
    session.delete(job)
    add_event(session, file)


def give_back(session: Session, job: JobRow, delay_s: float, message: str, *, counts: bool) -> None:
    """End a lease and queue the job again; unless it counts, the attempt is not one."""
    job.due_time = time.time() + delay_s
    job.worker = job.lease = job.lease_start = job.lease_end = None
    if not counts:
        job.attempts = max(0, job.attempts - 1)
    file = find_file(session, job.file_id)
    file.status = "pending"
    file.set_progress("waiting", 0.0, message)
    add_event(session, file)


def retry_delay_s(attempt: int) -> float:
    """Return how long to wait after attempt number `attempt` failed."""
    return float(min(FIRST_DELAY_S * 2 ** (attempt - 1), MAX_DELAY_S))


def end_all_leases(session: Session) -> None:
    """Let other workers take over all jobs: who held them has died, or lost its connection."""
    session.execute(update(JobRow).where(JobRow.lease.is_not(None)).values(lease=None, lease_end=None))
    for file in session.scalars(select(FileRow).where(FileRow.status == "processing")).all():
        file.status = "pending"
        file.set_progress("waiting", file.fraction, "continues after a restart")
        add_event(session, file)
