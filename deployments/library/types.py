"""Requests and results of the library; these values cross process boundaries."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

FileType = Literal["document", "image", "audio", "video"]
FILE_TYPES: tuple[FileType, ...] = ("document", "image", "audio", "video")

FileStatus = Literal["pending", "processing", "completed", "failed"]

SourceInfo = dict[str, Any]
"""Where a passage is, as the API shows it: `{"type": "document", "page": 5, "boxes": [...]}` and so on."""


@dataclass(frozen=True)
class NewFile:
    filename: str
    """As it is shown: the name without its folder."""
    path: str
    """The name with the folders that it was added from, which can be searched; equal to `filename` without any."""
    file_type: FileType
    mime_type: str
    file_format: str
    """What the content is, such as `pdf`, `docx`, `jpg`; decides how it is read."""


@dataclass(frozen=True)
class FileError:
    code: str
    """Of a ServiceError."""
    message: str


@dataclass(frozen=True)
class FileProgress:
    stage: str
    """What is being done, such as `reading`, `embedding`."""
    fraction: float
    """Between 0 and 1."""
    eta_s: float | None
    message: str


@dataclass(frozen=True)
class FileRecord:
    file_id: int
    filename: str
    path: str
    file_type: FileType
    mime_type: str
    file_format: str
    file_size: int
    """In bytes."""
    upload_time: datetime
    """UTC."""
    checksum: str
    """SHA-256 of the content, hexadecimal."""
    status: FileStatus
    progress: FileProgress
    error: FileError | None
    """Why a failed file failed."""
    total_chunks: int


@dataclass(frozen=True)
class AddedFile:
    file: FileRecord
    duplicate: bool
    """Whether the same content was there before; then `file` is the first one."""


@dataclass(frozen=True)
class FileFilter:
    file_type: FileType | None = None
    status: FileStatus | None = None
    name: str | None = None
    """A part of the path, in any case."""
    checksum: str | None = None


@dataclass(frozen=True)
class FilePage:
    files: list[FileRecord]
    total: int
    """Files that match, on all pages."""


@dataclass(frozen=True)
class ChunkPart:
    """Which characters of a chunk came from where."""

    start: int
    end: int
    """Exclusive."""
    place: SourceInfo
    """The line, paragraph or words: `{"page": 5, "box": [...]}`, `{"paragraph": 17}`, `{"start": 1.2, "end": 1.5}`."""


@dataclass(frozen=True)
class NewChunk:
    text: str
    source_info: SourceInfo
    parts: list[ChunkPart]


@dataclass(frozen=True)
class ChunkRecord:
    chunk_id: str
    """A UUID, which survives `rebuild`."""
    file_id: int
    filename: str
    file_type: FileType
    number: int
    """Position in its file, from 0."""
    text: str
    source_info: SourceInfo
    parts: list[ChunkPart]


@dataclass(frozen=True)
class SearchRequest:
    query: str
    limit: int
    file_types: tuple[FileType, ...] = ()
    """Only files of these types; empty for all."""


@dataclass(frozen=True)
class SearchHit:
    chunk: ChunkRecord
    similarity: float
    """Cosine of the query's and the chunk's vectors, cut to 0…1: the same for the same text, whatever else there is."""
    score: float
    """By which the hits are sorted; larger is better."""


@dataclass(frozen=True)
class HistoryEntry:
    id: int
    query: str
    results_count: int
    search_time: datetime
    response_time_ms: float


@dataclass(frozen=True)
class HistoryPage:
    history: list[HistoryEntry]
    """Newest first."""
    total: int


@dataclass(frozen=True)
class FileEvent:
    """A change of a file's status or progress."""

    seq: int
    """Rises by at least 1 from event to event, also over restarts."""
    file_id: int
    status: FileStatus | Literal["deleted"]
    progress: FileProgress


@dataclass(frozen=True)
class Job:
    """A file to be indexed, leased to one worker."""

    job_id: int
    lease: str
    """A token; calls with the token of a lease that was lost or cancelled do nothing and say so."""
    file: FileRecord
    attempt: int
    """From 1."""
    num_chunks_stored: int
    """Chunks that an earlier attempt or call stored; the next `add_chunks` continues behind them."""


@dataclass(frozen=True)
class LibraryStats:
    total_files: int
    total_chunks: int
    index_size: int
    """Vectors in the index."""
    active_files: int
    """Files that are pending or processing."""
    table_rows: dict[str, int]
    size_bytes: int
    """Of database and originals."""


@dataclass(frozen=True)
class CheckReport:
    """What `verify` or `rebuild` found; empty lists if all is well."""

    problems: list[str] = field(default_factory=list)
    """One sentence each."""
    repaired: list[str] = field(default_factory=list)
    """What was put right, one sentence each."""
