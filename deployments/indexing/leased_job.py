"""A job of the library while this process has its lease."""

import asyncio
import time
from collections.abc import AsyncIterator

from deployments.errors import ServiceError
from deployments.indexing.services import Services
from deployments.library.protocol import LibraryService
from deployments.library.types import Job, NewChunk
from deployments.log import logger

LEASE_S = 30.0
"""After so many seconds without a sign of life, the library gives the job to another worker."""
RENEWAL_S = 10.0
"""How often the lease is renewed, so that a library that restarts does not cost the lease."""
LIBRARY_S = 60.0
"""Time limit of a call to the library."""
CHUNKS_PER_CALL = 16
"""Chunks that are embedded and stored together: about a second of work, between which other work has its turn."""
MIN_REPORT_INTERVAL_S = 1.0
"""Each report is written to the disk, so there is at most one a second."""


class JobLost(Exception):
    """The job is no longer ours: the file was deleted, or another worker has it."""


class LeasedJob:
    """Renews the lease, reports progress and stores chunks; each call raises JobLost once the job is lost.

    Storing begins anew at chunk 0, whatever an earlier attempt stored: a number that is stored again is replaced, and
    `complete` says how many there are, so that nothing is there twice.
    """

    def __init__(self, job: Job, library: LibraryService, services: Services) -> None:
        self.job = job
        self._library = library
        self.services = services
        self._progress = ("reading", 0.0, "")
        self._reported_at = 0.0

    async def report(self, stage: str, fraction: float, message: str = "") -> None:
        """Note the progress, and send it unless the last report was a moment ago."""
        self._progress = (stage, fraction, message)
        if time.monotonic() - self._reported_at >= MIN_REPORT_INTERVAL_S:
            await self._send_progress()

    async def keep(self) -> None:
        """Renew the lease until this is cancelled or the job is lost."""
        while True:
            await asyncio.sleep(RENEWAL_S)
            try:
                await self._send_progress()
            except ServiceError as error:
                logger.warning("The lease of job %d could not be renewed: %s", self.job.job_id, error)

    async def store(self, chunks: AsyncIterator[NewChunk]) -> int:
        """Embed and store all chunks; returns how many there are."""
        num_stored = 0
        batch: list[NewChunk] = []
        async for chunk in chunks:
            batch.append(chunk)
            if len(batch) == CHUNKS_PER_CALL:
                await self._store_batch(num_stored, batch)
                num_stored += len(batch)
                batch = []
        if batch:
            await self._store_batch(num_stored, batch)
            num_stored += len(batch)
        return num_stored

    async def complete(self, num_chunks: int, message: str) -> None:
        """Make the file's chunks visible; the message stays with the file."""
        self._progress = ("storing", 1.0, message)
        await self._send_progress()
        _check(await self._library.complete_job(*self._lease, num_chunks, deadline=_deadline()))

    async def fail(self, code: str, message: str, *, may_retry: bool) -> None:
        _check(await self._library.fail_job(*self._lease, code, message, may_retry=may_retry, deadline=_deadline()))

    async def release(self, reason: str, delay_s: float) -> None:
        """Give the job back for a while; the reason stands in the file's progress."""
        self._progress = ("waiting", self._progress[1], reason)
        await self._send_progress()
        _check(await self._library.release_job(*self._lease, delay_s, deadline=_deadline()))

    @property
    def _lease(self) -> tuple[int, str]:
        return self.job.job_id, self.job.lease

    async def _store_batch(self, first: int, chunks: list[NewChunk]) -> None:
        vectors = await self.services.embed_passages([chunk.text for chunk in chunks])
        _check(await self._library.add_chunks(*self._lease, first, chunks, vectors, deadline=_deadline()))

    async def _send_progress(self) -> None:
        self._reported_at = time.monotonic()
        stage, fraction, message = self._progress
        _check(
            await self._library.report_progress(*self._lease, stage, fraction, message, LEASE_S, deadline=_deadline())
        )


def _check(is_ours: bool) -> None:
    if not is_ours:
        raise JobLost


def _deadline() -> float:
    return time.time() + LIBRARY_S
