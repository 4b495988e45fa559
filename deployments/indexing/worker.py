"""The loop that indexes one file after the other, and beside them those that take long, by turns."""

import asyncio
import os
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from deployments.errors import (
    FileTooLarge,
    InvalidFile,
    InvalidFileType,
    InvalidRequest,
    ModelNotLoaded,
    NotFound,
    ProcessingFailed,
    ServerBusy,
    ServiceError,
    StorageFull,
)
from deployments.indexing.documents import read_document
from deployments.indexing.leased_job import LEASE_S, LIBRARY_S, JobLost, LeasedJob
from deployments.indexing.pictures import read_picture
from deployments.indexing.reading import Reading
from deployments.indexing.services import Services
from deployments.indexing.settings import IndexingConfig
from deployments.indexing.speech import read_recording
from deployments.indexing.videos import read_video
from deployments.library.protocol import LibraryService
from deployments.library.types import FileType, Job, NewChunk
from deployments.log import logger
from deployments.malloc import trim_freed_memory

POLL_S = 5.0
"""How often the library is asked for a job when nobody says that there is one, such as one whose delay is over."""
RELEASE_S = 20.0
"""How long a file waits that cannot be indexed now, because a model is missing or the disk is full."""
PAUSE_S = 0.5
"""Between two files of which the first had to wait: others may have to wait for the same reason."""
LONG_S = 60.0
"""A file that takes longer no longer keeps the next ones waiting: they are indexed beside it, one at a time. A second
one that takes long pauses until the first is done, so that short ones still get half of the time."""
MAX_LONG = 3
"""Files that take long at once. With more, the next files wait until one of these is done."""
MAX_PAUSED_BYTES = 200 * 2**20
"""What paused files may hold in memory. With more, the next files wait until one that takes long is done."""
_VIDEO_BYTES = 100 * 2**20
"""The frames that a video's pipeline holds (MAX_SCENES in videos.py), besides the file."""
MAX_BACKOFF_S = 60.0
"""While the library does not answer, it is asked at growing intervals up to this."""

_PIPELINES: Mapping[FileType, Callable[[Reading], AsyncGenerator[NewChunk, None]]] = {
    "document": read_document,
    "image": read_picture,
    "audio": read_recording,
    "video": read_video,
}

_FILE_IS_WRONG = (InvalidFile, InvalidFileType, FileTooLarge, InvalidRequest)
"""Errors that come again however often the file is tried."""
_MUST_WAIT = (ModelNotLoaded, StorageFull, ServerBusy)
"""Errors that say nothing about the file, and go away when somebody acts or a model has loaded."""


@dataclass(frozen=True)
class _Running:
    """A file that is being indexed."""

    task: asyncio.Task[None]
    may_go_on: asyncio.Event
    """Unset while it pauses: it makes no further call to a model or parser."""
    num_bytes: int


class Worker:
    """Leases jobs and indexes their files: one at a time, and beside them one of those that take long. No error ends
    it."""

    def __init__(self, config: IndexingConfig, library: LibraryService, services: Services) -> None:
        self._config = config
        self._library = library
        self._services = services
        self._name = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._has_news = asyncio.Event()
        self._long: list[_Running] = []
        """The files that take long. The first one is worked on, the others pause."""

    def wake(self) -> None:
        self._has_news.set()

    async def run(self) -> None:
        """Index until this is cancelled."""
        backoff_s = PAUSE_S
        has_worked = False
        try:
            while True:
                try:
                    # Before the call, so that news which arrives during it is not lost.
                    self._has_news.clear()
                    job = await self._library.lease_job(self._name, LEASE_S, deadline=time.time() + LIBRARY_S)
                    if job is None:
                        if has_worked and not self._long:
                            has_worked = False
                            await asyncio.to_thread(trim_freed_memory)
                        await self._wait(POLL_S)
                    else:
                        has_worked = True
                        await self._index_beside(job)
                    backoff_s = PAUSE_S
                except ServiceError as error:
                    logger.warning("The library does not answer: %s", error)
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
                except Exception:
                    logger.exception("Indexing goes on after an error outside of any file")
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
        finally:
            await _end(*(long.task for long in self._long))

    async def _index_beside(self, job: Job) -> None:
        """Index a file; if it takes long, return before it is done. Raises as `index`."""
        may_go_on = asyncio.Event()
        may_go_on.set()
        task = asyncio.create_task(self.index(job, may_go_on))
        try:
            await asyncio.wait({task}, timeout=LONG_S)
        except asyncio.CancelledError:
            await _end(task)
            raise
        if task.done():
            task.result()
            return
        frames_bytes = _VIDEO_BYTES if job.file.file_type == "video" else 0
        self._long.append(_Running(task, may_go_on, job.file.file_size + frames_bytes))
        task.add_done_callback(self._end_long)
        if len(self._long) > 1:
            may_go_on.clear()
        while len(self._long) > MAX_LONG or sum(paused.num_bytes for paused in self._long[1:]) > MAX_PAUSED_BYTES:
            await asyncio.wait({long.task for long in self._long}, return_when=asyncio.FIRST_COMPLETED)

    def _end_long(self, task: asyncio.Task[None]) -> None:
        """Let the next file that takes long go on after one has ended."""
        self._long = [long for long in self._long if long.task is not task]
        for first in self._long[:1]:
            first.may_go_on.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("A file that took long could not be ended: %s", error)

    async def index(self, job: Job, may_go_on: asyncio.Event) -> None:
        """Index the file of a job, and say how that ended; raises only what the library raises.

        No call to a model or parser begins while `may_go_on` is unset.
        """

        async def wait_for_turn() -> None:
            await self._services.wait_for_turn()
            while not may_go_on.is_set():
                await may_go_on.wait()
                await self._services.wait_for_turn()

        leased = LeasedJob(job, self._library, replace(self._services, wait_for_turn=wait_for_turn))
        try:
            await self._run_while_ours(leased)
        except JobLost:
            logger.info("Job %d is no longer ours", job.job_id)

    async def _run_while_ours(self, leased: LeasedJob) -> None:
        file_id = leased.job.file.file_id
        try:
            await _first_of(self._read_and_store(leased), leased.keep())
        except JobLost:
            raise
        except _MUST_WAIT as error:
            logger.info("File %d has to wait: %s", file_id, error)
            await leased.release(str(error), RELEASE_S)
            await asyncio.sleep(PAUSE_S)
        except _FILE_IS_WRONG as error:
            logger.info("File %d cannot be indexed: %s", file_id, error)
            await leased.fail(error.code, str(error), may_retry=False)
        except ServiceError as error:
            logger.warning("Indexing file %d failed: %s", file_id, error)
            await leased.fail(error.code, str(error), may_retry=True)
        except Exception as error:
            logger.exception("Indexing file %d failed", file_id)
            message = f"An error of the server ({type(error).__name__}); its log has the traceback."
            await leased.fail(ProcessingFailed.code, message, may_retry=True)

    async def _read_and_store(self, leased: LeasedJob) -> None:
        file = leased.job.file
        await leased.report("reading", 0.0)
        try:
            original = await self._library.original(file.file_id, deadline=time.time() + LIBRARY_S)
        except NotFound:
            raise JobLost from None  # the file was deleted
        async with leased.services.share(original) as media:
            del original
            reading = Reading(file, media, leased.services, self._config, leased.report)
            async with aclosing(_PIPELINES[file.file_type](reading)) as chunks:
                num_chunks = await leased.store(chunks)
        await leased.complete(num_chunks, " ".join(reading.remarks))

    async def _wait(self, seconds: float) -> None:
        """Return when there may be a new job, at the latest after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._has_news.wait()
        except TimeoutError:
            return


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and return when they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _first_of(*work: Awaitable[None]) -> None:
    """Return when the first of these has ended, and raise what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
