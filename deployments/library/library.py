"""A library: one folder with a database, originals and indexes, opened by one process. With Postgres, the database and
the indexes are there, and the folder has the originals.

What a method that changes something has returned is on the disk. `request_id` is that of a call which may be made again
after a crash (replays.py). Deletions and completions change the database and the vectors' index so that a search, which
sees one state of the database, finds all chunks of a file or none.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from deployments.cancellation import Cancellation
from deployments.embedder.types import Vectors
from deployments.errors import Conflict, NotFound, ProcessingFailed, StorageFull
from deployments.library import chunks, counters, events, files, history, jobs, verify
from deployments.library.backend import DATABASE_FILE, open_backend
from deployments.library.database import is_damaged, storage_errors
from deployments.library.encrypted_file import NotAuthentic
from deployments.library.encryption import open_keys
from deployments.library.folder_lock import FolderLock
from deployments.library.originals import Originals, checksum_of
from deployments.library.replays import earlier_outcome, keep_outcome
from deployments.library.reserve import Reserve
from deployments.library.search import Searcher
from deployments.library.settings import LibraryConfig
from deployments.library.spelling import Spelling
from deployments.library.tables import FileRow, Table, as_datetime
from deployments.library.types import (
    AddedFile,
    CheckReport,
    ChunkRecord,
    FileEvent,
    FileFilter,
    FilePage,
    FileProgress,
    FileRecord,
    FileType,
    HistoryPage,
    Job,
    LibraryStats,
    NewChunk,
    NewFile,
    SearchHit,
    SearchRequest,
)
from deployments.library.words import Terms
from deployments.log import logger
from deployments.malloc import trim_freed_memory
from deployments.media import Media

ORIGINALS_FOLDER = "originals"

IDLE_BEFORE_COMPACT_S = 60.0
"""After the last call, before deleted words are overwritten."""
MAX_COMPACT_DELAY_S = 480.0
"""After a deletion, until its words are overwritten even if the library is never idle."""


class Library:
    """Opens a library, or makes one; `close` releases it. Methods may be called from several threads."""

    def __init__(
        self, config: LibraryConfig, *, on_event: Callable[[], None] = lambda: None, lock_wait_s: float = 0.0
    ) -> None:
        """Raises FolderInUse if another process has the folder after `lock_wait_s`, StorageFull, or ModelNotLoaded if a
        newer version wrote it, the database cannot be had or the encryption key is not the library's. `on_event` is
        called, from any thread, when there are new events."""
        self._config = config
        self._on_event = on_event
        self._last_call = time.monotonic()
        with storage_errors():
            config.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(config.folder, lock_wait_s)
        self._terms = Terms()
        try:
            with storage_errors():
                keys = open_keys(config.folder, config.folder / DATABASE_FILE, config.encryption_key)
                self._originals = Originals(config.folder / ORIGINALS_FOLDER, keys)
            self._reserve = Reserve(config.folder)
            backend = open_backend(config, self._originals, keys, self._terms, lock_wait_s)
        except BaseException:
            self._terms.close()
            self._lock.close()
            raise
        self._database, self._words, self._vectors = backend.database, backend.words, backend.vectors
        self._spelling = Spelling()
        self._searcher = Searcher(self._words, self._vectors, self._terms, self._spelling)
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._database.close()
        self._terms.close()
        self._lock.close()

    # --- files

    def add_file(self, media: Media, new_file: NewFile, *, request_id: str | None = None) -> AddedFile:
        """Store a file and queue it; of content that is there already, return that file, and queue it if it failed."""
        checksum = checksum_of(media)
        with self._database.reading() as session:
            is_known = files.find_content(session, checksum) is not None
        written = None if is_known else self._write_original(media, checksum)
        try:
            with self._database.locked(), self._kept_only_with_row(checksum):
                with self._writing() as session:
                    return self._add_row(session, media, new_file, checksum, written, request_id)
        finally:
            if written is not None:
                self._originals.discard(written)

    def _add_row(
        self,
        session: Session,
        media: Media,
        new_file: NewFile,
        checksum: str,
        written: Path | None,
        request_id: str | None,
    ) -> AddedFile:
        if (outcome := earlier_outcome(session, request_id)) is not None:
            row = session.get(FileRow, outcome["file_id"])
            record = row.record() if row else _deleted_meanwhile(outcome, media, new_file, checksum)
            return AddedFile(record, outcome["duplicate"])
        row = files.find_content(session, checksum)
        is_duplicate = row is not None
        if row is None:
            # Without `written`, the file was deleted since it was found.
            self._originals.keep(written or self._write_original(media, checksum), checksum)
            row = files.insert_file(session, new_file, len(media), checksum)
            jobs.queue_file(session, row)
        elif row.status == "failed":
            jobs.queue_file(session, row)
        outcome = {"file_id": row.id, "duplicate": is_duplicate, "upload_time": row.upload_time}
        keep_outcome(session, request_id, outcome)
        return AddedFile(row.record(), is_duplicate)

    def files(self, wanted: FileFilter, limit: int, offset: int) -> FilePage:
        with self._reading() as session:
            return files.list_files(session, wanted, limit, offset)

    def file(self, file_id: int) -> FileRecord:
        with self._reading() as session:
            return files.find_file(session, file_id).record()

    def chunks(self, file_id: int, first: int, count: int) -> list[ChunkRecord]:
        with self._reading() as session:
            return chunks.list_chunks(session, files.find_file(session, file_id), first, count)

    def chunk(self, chunk_id: str) -> ChunkRecord:
        with self._reading() as session:
            return chunks.find_chunk(session, chunk_id)

    def original(self, file_id: int) -> Media:
        with self._original_of(file_id) as checksum:
            return self._originals.read(checksum)

    def original_part(self, file_id: int, start: int, end: int) -> bytes:
        with self._original_of(file_id) as checksum:
            return self._originals.read_part(checksum, start, end)

    def delete_file(self, file_id: int, *, request_id: str | None = None) -> None:
        try:
            self._delete_file(file_id, request_id)
        except StorageFull:
            self._reserve.give_up()
            self._delete_file(file_id, request_id)
        self._reserve.keep()

    def _delete_file(self, file_id: int, request_id: str | None) -> None:
        with self._database.locked():  # no upload of the same content may come between commit and removal
            with self._writing() as session:
                if earlier_outcome(session, request_id) is not None:
                    return
                file = files.find_file(session, file_id)
                file_type, checksum = cast(FileType, file.file_type), file.checksum
                ids = chunks.chunk_ids(session, file_id)
                self._words.remove(session, file_id)
                session.delete(file)
                session.flush()
                events.add_deletion(session, file_id)
                counters.note_deletion(session)
                keep_outcome(session, request_id, {})
            self._vectors.remove(file_type, ids)
            self._originals.remove(checksum)

    def retry_file(self, file_id: int, *, request_id: str | None = None) -> FileRecord:
        with self._writing() as session:
            file = files.find_file(session, file_id)
            if earlier_outcome(session, request_id) is None:
                if file.status != "failed":
                    raise Conflict(f"Only a file that has failed can be tried again; file {file_id} is {file.status}.")
                jobs.queue_file(session, file)
                keep_outcome(session, request_id, {})
            return file.record()

    # --- search

    def search(self, request: SearchRequest, vector: Vectors | None, cancellation: Cancellation) -> list[SearchHit]:
        try:
            with self._reading() as session:
                return self._searcher.search(session, request, vector, cancellation)
        except DatabaseError as error:
            if not is_damaged(error):
                raise
            logger.warning("The words' index is damaged and is made anew: %s", error)
            with self._writing() as session:
                self._words.rebuild(session)
            with self._reading() as session:
                return self._searcher.search(session, request, vector, cancellation)

    def add_history(
        self, query: str, results_count: int, response_time_ms: float, *, request_id: str | None = None
    ) -> None:
        if not self._config.keep_history:
            return
        with self._writing() as session:
            if earlier_outcome(session, request_id) is None:
                history.add_search(session, query, results_count, response_time_ms)
                keep_outcome(session, request_id, {})

    def history(self, limit: int, offset: int) -> HistoryPage:
        with self._reading() as session:
            return history.list_searches(session, limit, offset)

    def clear_history(self, *, request_id: str | None = None) -> int:
        with self._writing() as session:
            if (outcome := earlier_outcome(session, request_id)) is not None:
                return int(outcome["count"])
            count = history.clear_searches(session)
            if count:
                counters.note_deletion(session)
            keep_outcome(session, request_id, {"count": count})
            return count

    def events(self, since: int | None) -> list[FileEvent]:
        """Return the events after number `since`; with None the latest one."""
        with self._database.reading() as session:
            return events.latest_event(session) if since is None else events.events_after(session, since)

    # --- indexing

    def lease_job(self, worker: str, lease_s: float, *, request_id: str | None = None) -> Job | None:
        with self._writing() as session:
            outcome = earlier_outcome(session, request_id)
            if outcome is not None:
                job = jobs.leased_job(session, outcome["job_id"], outcome["lease"])
            else:
                job = jobs.lease_next(session, worker, lease_s, self._config.max_attempts)
                if job is not None:
                    keep_outcome(session, request_id, {"job_id": job.id, "lease": job.lease})
            if job is None or job.lease is None:
                return None
            file = files.find_file(session, job.file_id)
            return Job(job.id, job.lease, file.record(), job.attempts, chunks.num_stored(session, job.file_id))

    def report_progress(
        self, job_id: int, lease: str, stage: str, fraction: float, message: str, lease_s: float
    ) -> bool:
        with self._writing() as session:
            job = jobs.leased_job(session, job_id, lease)
            if job is not None:
                jobs.renew_lease(session, job, stage, fraction, message, lease_s)
            return job is not None

    def add_chunks(self, job_id: int, lease: str, first: int, new: list[NewChunk], vectors: Vectors) -> bool:
        with self._writing() as session:
            job = jobs.leased_job(session, job_id, lease)
            if job is not None:
                file = files.find_file(session, job.file_id)
                if chunks.store_chunks(session, file, first, new, vectors):
                    job.attempts = 1
            return job is not None

    def complete_job(self, job_id: int, lease: str, num_chunks: int, *, request_id: str | None = None) -> bool:
        """Make the chunks visible; raises ValueError if not all of them were stored."""
        added: tuple[FileType, list[int]] | None = None
        try:
            with self._writing() as session:
                if earlier_outcome(session, request_id) is not None:
                    return True
                job = jobs.leased_job(session, job_id, lease)
                if job is None:
                    return False
                file = files.find_file(session, job.file_id)
                chunks.delete_chunks(session, file.id, first=num_chunks)
                if (stored := chunks.num_stored(session, file.id)) != num_chunks:
                    raise ValueError(f"File {file.id} should have {num_chunks} chunks, but {stored} were stored.")
                jobs.complete(session, job, file, num_chunks)
                keep_outcome(session, request_id, {})
                session.flush()
                self._words.add(session, file.id)
                # Before the commit: who sees the chunks in the database then finds their vectors, too.
                added = (cast(FileType, file.file_type), chunks.chunk_ids(session, file.id))
                self._vectors.add_file(session, added[0], file.id)
                terms = self._terms.distinct([file.path, *chunks.chunk_texts(session, file.id)])
        except BaseException:
            if added is not None:
                self._vectors.remove(*added)
            raise
        self._spelling.add(terms)
        return True

    def fail_job(
        self, job_id: int, lease: str, code: str, message: str, *, may_retry: bool, request_id: str | None = None
    ) -> bool:
        with self._writing() as session:
            if earlier_outcome(session, request_id) is not None:
                return True
            job = jobs.leased_job(session, job_id, lease)
            if job is None:
                return False
            file = files.find_file(session, job.file_id)
            if may_retry and job.attempts < self._config.max_attempts:
                jobs.give_back(session, job, jobs.retry_delay_s(job.attempts), message, counts=True)
            else:
                jobs.end_with_error(session, job, file, code, message)
                chunks.delete_chunks(session, file.id)
                counters.note_deletion(session)
            keep_outcome(session, request_id, {})
            return True

    def release_job(self, job_id: int, lease: str, delay_s: float, *, request_id: str | None = None) -> bool:
        with self._writing() as session:
            if earlier_outcome(session, request_id) is not None:
                return True
            job = jobs.leased_job(session, job_id, lease)
            if job is None:
                return False
            # The worker reported why before.
            jobs.give_back(session, job, delay_s, files.find_file(session, job.file_id).message, counts=False)
            keep_outcome(session, request_id, {})
            return True

    # --- care

    def stats(self) -> LibraryStats:
        with self._reading() as session:
            rows = {
                table.name: session.scalar(select(func.count()).select_from(table)) or 0
                for table in Table.metadata.sorted_tables
            }
            active = select(func.count()).select_from(FileRow).where(FileRow.status.in_(("pending", "processing")))
            return LibraryStats(
                total_files=rows["files"],
                total_chunks=chunks.num_visible(session),
                index_size=self._vectors.size(session),
                active_files=session.scalar(active) or 0,
                table_rows=rows,
                size_bytes=_size_of(self._config.folder) + self._database.bytes_elsewhere(session),
            )

    def verify(self, cancellation: Cancellation) -> CheckReport:
        if damaged := self._database.damaged_pages():
            return CheckReport(damaged)  # nothing else can be compared
        with self._reading() as session:
            problems = list(self._database.problems(session))
            suspects = verify.suspect_originals(session, self._originals, cancellation)
        with self._writing() as session:  # so that nothing changes between two looks
            problems += verify.row_problems(session)
            problems += verify.word_problems(session, self._words)
            problems += self._vectors.problems(session, cancellation)
            problems += verify.original_problems(session, self._originals, suspects)
        return CheckReport(problems)

    def rebuild(self, cancellation: Cancellation) -> CheckReport:
        before = self.verify(cancellation)
        if self._database.damaged_pages():
            return before
        with self._database.locked():
            with self._writing() as session:
                self._words.rebuild(session)
                self._remove_strays(session)
            with self._reading() as session:
                self._vectors.load(session)
        after = self.verify(cancellation)
        return CheckReport(after.problems, [problem for problem in before.problems if problem not in after.problems])

    def compact(self, cancellation: Cancellation) -> None:
        """Overwrite what was deleted."""
        with self._database.writing() as session:
            deletions = counters.num_deletions(session)
            more = self._words.merge(session, start=True)
        while more:  # one transaction for each step, so that other changes can come between
            cancellation.check("it was still writing the words' index anew")
            with self._database.writing() as session:
                more = self._words.merge(session, start=False)
        self._database.shrink()
        self.checkpoint()
        self._reserve.keep()
        with self._database.writing() as session:
            counters.forget_deletions(session, deletions)

    def compact_when_due(self, cancellation: Cancellation) -> None:
        """Compact if something was deleted, and the library is idle or the deletion some time ago."""
        with self._database.reading() as session:
            since = counters.deleted_since(session)
        if since is None:
            return
        is_idle = time.monotonic() - self._last_call > IDLE_BEFORE_COMPACT_S
        if is_idle or abs(time.time() - since) > MAX_COMPACT_DELAY_S:
            self.compact(cancellation)

    def checkpoint(self) -> None:
        """Write everything into the database file, and empty its log; Postgres is not copied with the folder."""
        self._database.checkpoint()

    # --- inside

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        self._last_call = time.monotonic()
        with self._database.writing() as session:
            yield session
        self._on_event()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        self._last_call = time.monotonic()
        with self._database.reading() as session:
            yield session

    @contextmanager
    def _original_of(self, file_id: int) -> Iterator[str]:
        """Give a file's checksum; NotFound if it is deleted before its original is open, ProcessingFailed if that
        cannot be decrypted."""
        with self._reading() as session:
            checksum = files.find_file(session, file_id).checksum
        try:
            yield checksum
        except FileNotFoundError:
            self.file(file_id)  # raises NotFound if the file was deleted meanwhile
            raise NotFound(f"The original of file {file_id} is missing from the library's folder.") from None
        except NotAuthentic:
            raise ProcessingFailed(
                f"The original of file {file_id} has changed on the disk and cannot be decrypted. Restore it from a "
                "copy of the library's folder."
            ) from None

    def _write_original(self, media: Media, checksum: str) -> Path:
        with storage_errors():
            return self._originals.write(media, checksum)

    @contextmanager
    def _kept_only_with_row(self, checksum: str) -> Iterator[None]:
        """Remove an original whose row could not be stored."""
        try:
            yield
        except BaseException:
            with self._database.reading() as session:
                if files.find_content(session, checksum) is None:
                    self._originals.remove(checksum)
            raise

    def _recover(self) -> None:
        """Put right what a process that died left behind."""
        with self._database.writing() as session:
            if self._words.ensure(session):
                logger.info("The words' index was made.")
            jobs.end_all_leases(session)
            for path in self._originals.unfinished():
                self._originals.discard(path)
            self._remove_strays(session)
        with self._database.reading() as session:
            self._spelling.add(self._words.terms(session))
            self._vectors.load(session)
        trim_freed_memory()

    def _remove_strays(self, session: Session) -> None:
        """Remove originals that belong to no file."""
        known = set(map(self._originals.name, session.scalars(select(FileRow.checksum))))
        for name in list(self._originals.stored()):
            if name not in known:
                self._originals.remove_stored(name)


def _deleted_meanwhile(outcome: dict[str, object], media: Media, new_file: NewFile, checksum: str) -> FileRecord:
    """Return the record that the first call of a replayed upload returned, of a file that is deleted by now."""
    return FileRecord(
        file_id=cast(int, outcome["file_id"]),
        filename=new_file.filename,
        path=new_file.path,
        file_type=new_file.file_type,
        mime_type=new_file.mime_type,
        file_format=new_file.file_format,
        file_size=len(media),
        upload_time=as_datetime(cast(float, outcome["upload_time"])),
        checksum=checksum,
        status="pending",
        progress=FileProgress("waiting", 0.0, None, ""),
        error=None,
        total_chunks=0,
    )


def _size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # deleted meanwhile
            continue
    return size
