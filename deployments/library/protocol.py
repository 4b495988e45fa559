"""What the rest of the graph may call on the library."""

from typing import Protocol

from deployments.embedder.types import Vectors
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
from deployments.media import Media


class LibraryService(Protocol):
    """`deadline` is in epoch seconds. A file or chunk that does not exist raises NotFound; a full disk StorageFull;
    a folder that another server holds ModelNotLoaded, which names the holder."""

    async def add_file(self, media: Media, new_file: NewFile, *, deadline: float) -> AddedFile:
        """Store a file durably and queue it for indexing. A failed file of the same content is queued again."""

    async def files(self, wanted: FileFilter, limit: int, offset: int, *, deadline: float) -> FilePage:
        """Return files, newest first."""

    async def file(self, file_id: int, *, deadline: float) -> FileRecord: ...

    async def chunks(self, file_id: int, first: int, count: int, *, deadline: float) -> list[ChunkRecord]:
        """Return at most `count` chunks of a completed file, from number `first` on; none for another file."""

    async def chunk(self, chunk_id: str, *, deadline: float) -> ChunkRecord: ...

    async def original(self, file_id: int, *, deadline: float) -> Media:
        """Return the file as it was uploaded."""

    async def original_part(self, file_id: int, start: int, end: int, *, deadline: float) -> bytes:
        """Return the bytes from `start` to `end` (exclusive) of the file as it was uploaded."""

    async def delete_file(self, file_id: int, *, deadline: float) -> None:
        """Remove a file from every answer, its original from the disk and its rows from the database; its job ends."""

    async def retry_file(self, file_id: int, *, deadline: float) -> FileRecord:
        """Queue a failed file again; raises Conflict for another one."""

    async def search(self, request: SearchRequest, vector: Vectors | None, *, deadline: float) -> list[SearchHit]:
        """Return the best chunks, the best first. Without a vector only words count, and `similarity` is 0."""

    async def add_history(self, query: str, results_count: int, response_time_ms: float, *, deadline: float) -> None:
        """Note a search, if history is on."""

    async def history(self, limit: int, offset: int, *, deadline: float) -> HistoryPage: ...

    async def clear_history(self, *, deadline: float) -> int:
        """Delete the history and return how many entries it had."""

    async def events(self, since: int | None, wait_s: float, *, deadline: float) -> list[FileEvent]:
        """Return the events after number `since`, oldest first; waits up to `wait_s` for one. With None, returns the
        latest event at once, if there is any."""

    async def stats(self, *, deadline: float) -> LibraryStats: ...

    async def verify(self, *, deadline: float) -> CheckReport:
        """Compare originals, rows, words and vectors with each other; changes nothing."""

    async def rebuild(self, *, deadline: float) -> CheckReport:
        """Make the words' and vectors' index anew from the rows."""

    async def compact(self, *, deadline: float) -> None:
        """Overwrite what was deleted: words in the database, its index and its log."""

    async def checkpoint(self, *, deadline: float) -> None:
        """Write everything into the database file, so that the folder can be copied."""

    async def lease_job(self, worker: str, lease_s: float, *, deadline: float) -> Job | None:
        """Return the next file to index, if there is one; its status becomes `processing`."""

    async def report_progress(
        self, job_id: int, lease: str, stage: str, fraction: float, message: str, lease_s: float, *, deadline: float
    ) -> bool:
        """Note the progress and renew the lease; returns False if the job is no longer the worker's."""

    async def add_chunks(
        self, job_id: int, lease: str, first: int, chunks: list[NewChunk], vectors: Vectors, *, deadline: float
    ) -> bool:
        """Store chunks number `first` and following, which stay invisible until the job is complete; storing a number
        again replaces it. Returns False if the job is no longer the worker's."""

    async def complete_job(self, job_id: int, lease: str, num_chunks: int, *, deadline: float) -> bool:
        """Make the file's chunks visible, all at once; returns False if the job is no longer the worker's. The message
        of the last `report_progress` stays with the file, such as that some pages cannot be read."""

    async def fail_job(
        self, job_id: int, lease: str, code: str, message: str, *, may_retry: bool, deadline: float
    ) -> bool:
        """Record why a file could not be indexed. With `may_retry` it is queued again, up to the bound on attempts."""

    async def release_job(self, job_id: int, lease: str, delay_s: float, *, deadline: float) -> bool:
        """Give a job back that cannot go on now, such as while a model is missing; does not count as an attempt. The
        message of the last `report_progress` stays with the file: it says why."""
