"""The bodies of the library's responses: the public contract, which `/openapi.json` shows."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.library.types import (
    ChunkRecord,
    FileEvent,
    FileProgress,
    FileRecord,
    FileStatus,
    FileType,
    HistoryEntry,
)

SourceInfo = dict[str, Any]
"""Where a passage is."""

_SOURCE_INFO = Field(
    description="Where the passage is: `type`, and the page with `boxes` (fractions of the displayed page), the "
    "heading and paragraph, the box in a picture, or `start` and `end` in seconds.",
    examples=[{"type": "document", "page": 5, "boxes": [[0.1, 0.2, 0.9, 0.22]]}],
)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Welcome(_Body):
    message: str = Field(examples=["Prism RAG System API"])
    version: str


class LibraryState(_Body):
    state: Literal["ready", "unavailable"]
    detail: str = Field(description="Why it is unavailable; else empty.")
    total_files: int
    active_files: int = Field(description="Files that are waiting to be indexed or being indexed.")


class LibraryHealth(_Body):
    status: Literal["healthy", "degraded"] = Field(description="`healthy` whenever the library works.")
    version: str
    library: LibraryState


class UploadedFile(_Body):
    file_id: int
    filename: str
    status: FileStatus = Field(description="`processing` for a new file; for a duplicate, its present status.")
    message: str = Field(examples=["File uploaded successfully", "File already exists"])
    checksum: str = Field(description="SHA-256 of the content.")
    duplicate: bool


class Progress(_Body):
    stage: str = Field(examples=["reading"])
    fraction: float = Field(ge=0, le=1)
    eta_s: float | None
    message: str


class LibraryError(_Body):
    code: str = Field(examples=["INVALID_FILE"])
    message: str


class Passage(_Body):
    chunk_id: str
    text: str
    source_info: SourceInfo = _SOURCE_INFO


class LibraryFile(_Body):
    file_id: int
    filename: str
    file_type: FileType
    mime_type: str
    file_size: int = Field(description="Bytes.")
    upload_time: str = Field(description="UTC.", json_schema_extra={"format": "date-time"})
    checksum: str
    path: str = Field(description="The name with the folders that it was added from.")
    status: FileStatus
    progress: Progress
    error: LibraryError | None = Field(description="Why a failed file failed.")
    total_chunks: int


class LibraryFileWithContent(LibraryFile):
    content: list[Passage] | None = Field(None, description="With `include_content=true`: the text, in order.")


class FileList(_Body):
    files: list[LibraryFile] = Field(description="Newest first.")
    total: int = Field(description="Files that match, on all pages.")
    limit: int
    offset: int


class DeletedFile(_Body):
    file_id: int
    message: str = Field(examples=["File deleted"])


class ResultMetadata(_Body):
    file_id: int
    filename: str
    text: str
    source_info: SourceInfo = _SOURCE_INFO


class SearchResult(_Body):
    chunk_id: str
    similarity: float = Field(ge=0, le=1, description="Cosine of the vectors of query and passage, cut to 0…1.")
    metadata: ResultMetadata


class Citation(_Body):
    citation_number: int
    chunk_id: str
    file_id: int
    source_info: SourceInfo = _SOURCE_INFO
    text_preview: str = Field(description="The first 100 characters of the passage.")
    quote: str = Field(description="The words of the passage that back the sentence.")
    chars: tuple[int, int] = Field(
        description="Where the quote is in the passage's text: its first character, and the first one after it.",
        examples=[[120, 188]],
    )
    url: str = Field(description="A path that opens the place.", examples=["/files/12/content#page=5"])
    page_url: str | None = Field(
        description="The path of a picture of the place: the page, or the picture itself, with the quoted words "
        "marked, or the frame of a video. None for sound and for documents without pages.",
        examples=["/files/12/pages/5.png?chunk_id=...&chars=120-188"],
    )
    supported: bool = Field(
        description="Whether these words back the sentence: always true, other words are not cited."
    )


class SearchAnswer(_Body):
    results: list[SearchResult] = Field(description="The best passages, the best first.")
    response: str = Field(
        description="The answer, each sentence followed by the numbers of its citations; or that there is none.",
        examples=["The budget for travel in 2024 is 12,000 euros. [1]"],
    )
    citations: list[Citation] = Field(
        description="What the answer's sentences are backed by; empty if nothing was found."
    )
    query_time: float = Field(description="Seconds that the search took, without the answer.", examples=[0.041])
    answered_by: str | None = Field(
        description="Name of the language model, or `extractive`: sentences of the passages, quoted. None without an "
        "answer.",
        examples=["Qwen2.5-1.5B-Instruct"],
    )
    answer_note: str = Field(
        description="Why the answer is extractive or not complete, for the user; else empty.",
        examples=["Qwen2.5-1.5B-Instruct is still loading (fetching its file, 0.3 of 1.1 GB)."],
    )


class SearchHistoryEntry(_Body):
    id: int
    query: str
    results_count: int
    search_time: str = Field(description="UTC.", json_schema_extra={"format": "date-time"})
    response_time_ms: float


class SearchHistory(_Body):
    history: list[SearchHistoryEntry] = Field(description="Newest first.")
    total: int
    limit: int
    offset: int


class ClearedHistory(_Body):
    deleted: int


class Stats(_Body):
    total_files: int
    total_chunks: int
    index_size: int = Field(description="Vectors in the index.")
    memory_usage: float = Field(description="Of all processes of the app, in MB.")
    size_bytes: int = Field(description="Of the library's folder.")
    table_rows: dict[str, int]


class CheckedLibrary(_Body):
    problems: list[str] = Field(description="One sentence each; empty if all is well.")
    repaired: list[str]


def progress_body(progress: FileProgress) -> Progress:
    return Progress(stage=progress.stage, fraction=progress.fraction, eta_s=progress.eta_s, message=progress.message)


def file_body(record: FileRecord, content: list[ChunkRecord] | None = None) -> LibraryFileWithContent:
    error = LibraryError(code=record.error.code, message=record.error.message) if record.error else None
    return LibraryFileWithContent(
        file_id=record.file_id,
        filename=record.filename,
        file_type=record.file_type,
        mime_type=record.mime_type,
        file_size=record.file_size,
        upload_time=record.upload_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        checksum=record.checksum,
        path=record.path,
        status=record.status,
        progress=progress_body(record.progress),
        error=error,
        total_chunks=record.total_chunks,
        content=None
        if content is None
        else [Passage(chunk_id=chunk.chunk_id, text=chunk.text, source_info=chunk.source_info) for chunk in content],
    )


def history_body(entry: HistoryEntry) -> SearchHistoryEntry:
    return SearchHistoryEntry(
        id=entry.id,
        query=entry.query,
        results_count=entry.results_count,
        search_time=entry.search_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        response_time_ms=entry.response_time_ms,
    )


def event_body(event: FileEvent) -> dict[str, Any]:
    """Return the message about a file's progress that `/ws` and `/events` send."""
    progress = progress_body(event.progress).model_dump(mode="json")
    return {"seq": event.seq, "file_id": event.file_id, "progress": {"status": event.status, **progress}}
