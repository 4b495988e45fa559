"""The library as a Ray Serve deployment: opens the folder, and runs its work in threads."""

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from deployments.cancellation import Cancellation
from deployments.embedder.types import Vectors
from deployments.errors import ModelLoading, ModelNotLoaded, ServiceError
from deployments.library.settings import LibraryConfig
from deployments.library.types import (
    AddedFile,
    CheckReport,
    ChunkRecord,
    FileEvent,
    FileFilter,
    FilePage,
    FileRecord,
    HistoryPage,
    Job,
    LibraryStats,
    NewChunk,
    NewFile,
    SearchHit,
    SearchRequest,
)
from deployments.log import hide_expected_errors, logger
from deployments.media import Media
from deployments.worker_threads import ThreadedDeployment, WorkerThreads

if TYPE_CHECKING:
    from deployments.library.library import Library

T = TypeVar("T")

LOCK_WAIT_S = 10.0
"""How long the folder of another process is waited for: a replica that this one replaces may still be ending."""
MAINTENANCE_PERIOD_S = 15.0
"""How often it is looked whether deleted words are to be overwritten."""
MAX_MAINTENANCE_S = 600.0

_READERS = 4
_WRITERS = 4
"""Changes take turns, but several uploads can be written to the disk at once."""
_LOWEST_PRIORITY = 19


class LibraryDeployment(ThreadedDeployment):
    """One library, opened in the background after `__init__`; calls wait for that until their deadline.

    While another process has the folder, each call waits LOCK_WAIT_S for it, and then raises ModelNotLoaded with the
    holder's name. `request_id` is the same for a call and its replay after a crash.
    """

    def __init__(self, library: LibraryConfig) -> None:
        hide_expected_errors()
        self._config = library
        self._readers = WorkerThreads("library_read", _READERS)
        self._writers = WorkerThreads("library_write", _WRITERS)
        self._maintainers = WorkerThreads("library_maintain", 1)
        self._changed = _Changed()
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="library_open")
        self._opened = self._opener.submit(self._open)

    async def add_file(
        self, media: Media, new_file: NewFile, *, deadline: float, request_id: str | None = None
    ) -> AddedFile:
        return await self._write(lambda library: library.add_file(media, new_file, request_id=request_id), deadline)

    async def files(self, wanted: FileFilter, limit: int, offset: int, *, deadline: float) -> FilePage:
        return await self._read(lambda library: library.files(wanted, limit, offset), deadline)

    async def file(self, file_id: int, *, deadline: float) -> FileRecord:
        return await self._read(lambda library: library.file(file_id), deadline)

    async def chunks(self, file_id: int, first: int, count: int, *, deadline: float) -> list[ChunkRecord]:
        return await self._read(lambda library: library.chunks(file_id, first, count), deadline)

    async def chunk(self, chunk_id: str, *, deadline: float) -> ChunkRecord:
        return await self._read(lambda library: library.chunk(chunk_id), deadline)

    async def original(self, file_id: int, *, deadline: float) -> Media:
        return await self._read(lambda library: library.original(file_id), deadline)

    async def original_part(self, file_id: int, start: int, end: int, *, deadline: float) -> bytes:
        return await self._read(lambda library: library.original_part(file_id, start, end), deadline)

    async def delete_file(self, file_id: int, *, deadline: float, request_id: str | None = None) -> None:
        await self._write(lambda library: library.delete_file(file_id, request_id=request_id), deadline)

    async def retry_file(self, file_id: int, *, deadline: float, request_id: str | None = None) -> FileRecord:
        return await self._write(lambda library: library.retry_file(file_id, request_id=request_id), deadline)

    async def search(self, request: SearchRequest, vector: Vectors | None, *, deadline: float) -> list[SearchHit]:
        library = await self._library(deadline)
        return await self._readers.run(lambda cancellation: library.search(request, vector, cancellation), deadline)

    async def add_history(
        self,
        query: str,
        results_count: int,
        response_time_ms: float,
        *,
        deadline: float,
        request_id: str | None = None,
    ) -> None:
        await self._write(
            lambda library: library.add_history(query, results_count, response_time_ms, request_id=request_id), deadline
        )

    async def history(self, limit: int, offset: int, *, deadline: float) -> HistoryPage:
        return await self._read(lambda library: library.history(limit, offset), deadline)

    async def clear_history(self, *, deadline: float, request_id: str | None = None) -> int:
        return await self._write(lambda library: library.clear_history(request_id=request_id), deadline)

    async def events(self, since: int | None, wait_s: float, *, deadline: float) -> list[FileEvent]:
        give_up_at = min(time.time() + wait_s, deadline)
        while True:
            change = self._changed.next()
            found = await self._read(lambda library: library.events(since), deadline)
            if found or since is None or time.time() >= give_up_at:
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, give_up_at - time.time())):
                    await change.wait()

    async def stats(self, *, deadline: float) -> LibraryStats:
        return await self._read(lambda library: library.stats(), deadline)

    async def verify(self, *, deadline: float) -> CheckReport:
        library = await self._library(deadline)
        return await self._maintainers.run(library.verify, deadline)

    async def rebuild(self, *, deadline: float) -> CheckReport:
        library = await self._library(deadline)
        return await self._maintainers.run(library.rebuild, deadline)

    async def compact(self, *, deadline: float) -> None:
        library = await self._library(deadline)
        await self._maintainers.run(library.compact, deadline)

    async def checkpoint(self, *, deadline: float) -> None:
        await self._write(lambda library: library.checkpoint(), deadline)

    async def lease_job(
        self, worker: str, lease_s: float, *, deadline: float, request_id: str | None = None
    ) -> Job | None:
        return await self._write(lambda library: library.lease_job(worker, lease_s, request_id=request_id), deadline)

    async def report_progress(
        self, job_id: int, lease: str, stage: str, fraction: float, message: str, lease_s: float, *, deadline: float
    ) -> bool:
        return await self._write(
            lambda library: library.report_progress(job_id, lease, stage, fraction, message, lease_s), deadline
        )

    async def add_chunks(
        self, job_id: int, lease: str, first: int, chunks: list[NewChunk], vectors: Vectors, *, deadline: float
    ) -> bool:
        return await self._write(lambda library: library.add_chunks(job_id, lease, first, chunks, vectors), deadline)

    async def complete_job(
        self, job_id: int, lease: str, num_chunks: int, *, deadline: float, request_id: str | None = None
    ) -> bool:
        return await self._write(
            lambda library: library.complete_job(job_id, lease, num_chunks, request_id=request_id), deadline
        )

    async def fail_job(
        self,
        job_id: int,
        lease: str,
        code: str,
        message: str,
        *,
        may_retry: bool,
        deadline: float,
        request_id: str | None = None,
    ) -> bool:
        return await self._write(
            lambda library: library.fail_job(job_id, lease, code, message, may_retry=may_retry, request_id=request_id),
            deadline,
        )

    async def release_job(
        self, job_id: int, lease: str, delay_s: float, *, deadline: float, request_id: str | None = None
    ) -> bool:
        return await self._write(
            lambda library: library.release_job(job_id, lease, delay_s, request_id=request_id), deadline
        )

    def _all_threads(self) -> tuple[WorkerThreads, ...]:
        return self._readers, self._writers, self._maintainers

    async def _read(self, work: Callable[["Library"], T], deadline: float) -> T:
        library = await self._library(deadline)
        return await self._readers.run(lambda _: work(library), deadline)

    async def _write(self, work: Callable[["Library"], T], deadline: float) -> T:
        library = await self._library(deadline)
        return await self._writers.run(lambda _: work(library), deadline)

    async def _library(self, deadline: float) -> "Library":
        """Return the opened library; after a failure, this opens it again."""
        if self._opened.done() and self._opened.exception() is not None:
            self._opened = self._opener.submit(self._open)
        opened: Future[Library] = self._opened
        try:
            async with asyncio.timeout(max(0.0, deadline - time.time())):
                return await asyncio.shield(asyncio.wrap_future(opened))
        except TimeoutError:
            raise ModelLoading("The library is being opened; try again in a moment.") from None

    def _open(self) -> "Library":
        # Imported here, because processes that only refer to the class import this module too.
        from deployments.library.folder_lock import FolderInUse
        from deployments.library.library import Library

        try:
            library = Library(self._config, on_event=self._changed.tell, lock_wait_s=LOCK_WAIT_S)
        except FolderInUse as error:
            raise ModelNotLoaded(str(error)) from None
        except ServiceError:
            raise
        except Exception as error:
            logger.exception("The library could not be opened.")
            raise ModelNotLoaded(f"The library in {self._config.folder} could not be opened: {error}") from error
        stop = threading.Event()
        threading.Thread(target=_maintain, args=(library, stop), name="library_maintain", daemon=True).start()
        weakref.finalize(self, _close, library, stop)
        return library


class _Changed:
    """Wakes coroutines from any thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def next(self) -> asyncio.Event:
        """Return an event that is set at the next change from now on."""
        self._loop = asyncio.get_running_loop()
        return self._event

    def tell(self) -> None:
        if self._loop is not None:
            # RuntimeError: the loop was closed since, so nobody waits.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()


def _maintain(library: "Library", stop: threading.Event) -> None:
    """Overwrite deleted words when that is due, at the lowest priority, until `stop`."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    while not stop.wait(MAINTENANCE_PERIOD_S):
        try:
            library.compact_when_due(Cancellation(time.time() + MAX_MAINTENANCE_S))
        except Exception:
            logger.exception("Deleted words could not be overwritten; this is tried again.")


def _close(library: "Library", stop: threading.Event) -> None:
    stop.set()
    library.close()
