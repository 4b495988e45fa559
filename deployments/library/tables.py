"""The tables of the library's database, and the records that are made of their rows.

Times are in epoch seconds. The words' index (words.py) is not among them: it is made from these rows, and made anew
when it does not fit.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import JSON

from deployments.library.stored_vectors import STORED_VECTOR
from deployments.library.types import (
    FILE_TYPES,
    ChunkPart,
    ChunkRecord,
    FileError,
    FileEvent,
    FileProgress,
    FileRecord,
    FileStatus,
    FileType,
    HistoryEntry,
)

SCHEMA_VERSION = "0001"
"""The newest revision in migrations/versions; a test compares them."""

CHUNK_IDS_PER_TYPE = 2**40
"""Chunks of file type number t have the ids t * 2^40 + 1 and following, so that a range of ids is a type: the words'
index can leave out the other types before it ranks."""


class Table(DeclarativeBase):
    # SQLite's integers have 64 bits, and only a key of type INTEGER numbers its rows.
    type_annotation_map = {
        int: BigInteger().with_variant(Integer, "sqlite"),
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class FileRow(Table):
    __tablename__ = "files"
    __table_args__ = {"sqlite_autoincrement": True}  # an id is never given twice

    id: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str]
    path: Mapped[str]
    folded_path: Mapped[str]
    """The path in lower case, by `str.casefold`."""
    file_type: Mapped[str]
    mime_type: Mapped[str]
    file_format: Mapped[str]
    file_size: Mapped[int]
    upload_time: Mapped[float]
    checksum: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(index=True)
    stage: Mapped[str] = mapped_column(default="waiting")
    fraction: Mapped[float] = mapped_column(default=0.0)
    eta_s: Mapped[float | None]
    message: Mapped[str] = mapped_column(default="")
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    total_chunks: Mapped[int] = mapped_column(default=0)

    def set_progress(self, stage: str, fraction: float, message: str = "", eta_s: float | None = None) -> None:
        self.stage, self.fraction, self.message, self.eta_s = stage, fraction, message, eta_s

    def progress(self) -> FileProgress:
        return FileProgress(self.stage, self.fraction, self.eta_s, self.message)

    def record(self) -> FileRecord:
        return FileRecord(
            file_id=self.id,
            filename=self.filename,
            path=self.path,
            file_type=cast(FileType, self.file_type),
            mime_type=self.mime_type,
            file_format=self.file_format,
            file_size=self.file_size,
            upload_time=as_datetime(self.upload_time),
            checksum=self.checksum,
            status=cast(FileStatus, self.status),
            progress=self.progress(),
            error=None if self.error_code is None else FileError(self.error_code, self.error_message or ""),
            total_chunks=self.total_chunks,
        )


class JobRow(Table):
    """A file that is to be indexed; there is no row once it is completed or has failed."""

    __tablename__ = "jobs"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"), unique=True)
    due_time: Mapped[float]
    """Before that the job is not leased."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Leases since the last one that stored a new chunk, that one included."""
    worker: Mapped[str | None]
    lease: Mapped[str | None]
    lease_end: Mapped[float | None]
    lease_start: Mapped[float | None]


class ChunkRow(Table):
    """A chunk of a file; invisible unless the file is completed."""

    __tablename__ = "chunks"
    __table_args__ = (UniqueConstraint("file_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """See CHUNK_IDS_PER_TYPE; never given twice. The same number is the chunk's in the words' and the vectors'
    index."""
    chunk_id: Mapped[str] = mapped_column(unique=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"))
    number: Mapped[int]
    text: Mapped[str]
    source_info: Mapped[dict[str, Any]]
    parts: Mapped[list[Any]]
    """`[start, end, place]` of each ChunkPart."""

    def record(self, filename: str, file_type: str) -> ChunkRecord:
        return ChunkRecord(
            chunk_id=self.chunk_id,
            file_id=self.file_id,
            filename=filename,
            file_type=cast(FileType, file_type),
            number=self.number,
            text=self.text,
            source_info=self.source_info,
            parts=[ChunkPart(start, end, place) for start, end, place in self.parts],
        )


class VectorRow(Table):
    """A chunk's vector. A table of its own, because all of them are read when the library is opened."""

    __tablename__ = "vectors"

    id: Mapped[int] = mapped_column(ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    vector: Mapped[bytes] = mapped_column(STORED_VECTOR)
    """VECTOR_DIM numbers as little-endian float16."""


class HistoryRow(Table):
    __tablename__ = "history"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    query: Mapped[str]
    results_count: Mapped[int]
    search_time: Mapped[float]
    response_time_ms: Mapped[float]

    def record(self) -> HistoryEntry:
        return HistoryEntry(
            self.id, self.query, self.results_count, as_datetime(self.search_time), self.response_time_ms
        )


class EventRow(Table):
    __tablename__ = "events"
    __table_args__ = (Index("ix_events_file_id", "file_id"), {"sqlite_autoincrement": True})  # numbers never fall

    seq: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int]
    status: Mapped[str]
    stage: Mapped[str]
    fraction: Mapped[float]
    eta_s: Mapped[float | None]
    message: Mapped[str]

    def record(self) -> FileEvent:
        progress = FileProgress(self.stage, self.fraction, self.eta_s, self.message)
        return FileEvent(self.seq, self.file_id, cast(FileStatus, self.status), progress)


class OutcomeRow(Table):
    """What a call that changed something returned, for the case that it is replayed."""

    __tablename__ = "outcomes"
    __table_args__ = (Index("ix_outcomes_time", "time"),)

    request_id: Mapped[str] = mapped_column(primary_key=True)
    time: Mapped[float]
    outcome: Mapped[dict[str, Any]]


class CounterRow(Table):
    """Numbers that must survive a restart: the last chunk id of each file type, and what `compact` has to do."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


def as_datetime(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def file_type_of_chunk(id: int) -> FileType:
    return FILE_TYPES[(id - 1) // CHUNK_IDS_PER_TYPE]


def chunk_id_range(file_type: FileType) -> tuple[int, int]:
    """Return the first and last id that a chunk of this file type may have."""
    start = FILE_TYPES.index(file_type) * CHUNK_IDS_PER_TYPE
    return start + 1, start + CHUNK_IDS_PER_TYPE


def chunk_id_ranges(file_types: Iterable[FileType]) -> list[tuple[int, int]]:
    """Return the ranges of ids of some types, as few as possible."""
    ranges: list[tuple[int, int]] = []
    for first, last in sorted(map(chunk_id_range, file_types)):
        if ranges and ranges[-1][1] + 1 == first:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    return ranges
