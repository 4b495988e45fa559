"""Rows of chunks and their vectors."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.errors import NotFound
from deployments.library.counters import next_chunk_ids
from deployments.library.stored_vectors import STORED_BYTES, from_stored, stored_length, to_stored
from deployments.library.tables import ChunkRow, FileRow, VectorRow
from deployments.library.types import ChunkRecord, FileType, NewChunk

_READ_AT_ONCE = 5000
"""Vectors that are read into memory together."""


def store_chunks(session: Session, file: FileRow, first: int, chunks: Sequence[NewChunk], vectors: Vectors) -> int:
    """Store chunks number `first` and following, in place of those that have these numbers; returns how many numbers
    are new."""
    if vectors.shape != (len(chunks), VECTOR_DIM):
        raise ValueError(
            f"{len(chunks)} chunks need vectors of shape ({len(chunks)}, {VECTOR_DIM}), not {vectors.shape}"
        )
    if not chunks:
        return 0
    of_file = ChunkRow.file_id == file.id
    replaced = session.execute(
        delete(ChunkRow).where(of_file, ChunkRow.number >= first, ChunkRow.number < first + len(chunks))
    )
    ids = next_chunk_ids(session, cast(FileType, file.file_type), len(chunks))
    session.execute(
        insert(ChunkRow),
        [
            {
                "id": id,
                "chunk_id": str(uuid.uuid4()),
                "file_id": file.id,
                "number": first + i,
                "text": chunk.text,
                "source_info": chunk.source_info,
                "parts": [[part.start, part.end, part.place] for part in chunk.parts],
            }
            for i, (id, chunk) in enumerate(zip(ids, chunks, strict=True))
        ],
    )
    session.execute(
        insert(VectorRow),
        [{"id": id, "vector": stored} for id, stored in zip(ids, to_stored(vectors), strict=True)],
    )
    return len(chunks) - int(replaced.rowcount)  # type: ignore[attr-defined]


def num_stored(session: Session, file_id: int) -> int:
    """Return how many chunks of a file are stored, visible or not, without a gap from number 0 on."""
    numbers = select(ChunkRow.number).where(ChunkRow.file_id == file_id).order_by(ChunkRow.number)
    count = 0
    for number in session.scalars(numbers):
        if number != count:
            break
        count += 1
    return count


def delete_chunks(session: Session, file_id: int, first: int = 0) -> None:
    """Delete a file's chunks from number `first` on."""
    session.execute(delete(ChunkRow).where(ChunkRow.file_id == file_id, ChunkRow.number >= first))


def chunk_ids(session: Session, file_id: int) -> list[int]:
    return list(session.scalars(select(ChunkRow.id).where(ChunkRow.file_id == file_id).order_by(ChunkRow.id)))


def chunk_texts(session: Session, file_id: int) -> list[str]:
    return list(session.scalars(select(ChunkRow.text).where(ChunkRow.file_id == file_id)))


def list_chunks(session: Session, file: FileRow, first: int, count: int) -> list[ChunkRecord]:
    """Return at most `count` chunks of a completed file from number `first` on; none of another file."""
    if file.status != "completed":
        return []
    rows = session.scalars(
        select(ChunkRow)
        .where(ChunkRow.file_id == file.id, ChunkRow.number >= first)
        .order_by(ChunkRow.number)
        .limit(count)
    )
    return [row.record(file.filename, file.file_type) for row in rows]


def find_chunk(session: Session, chunk_id: str) -> ChunkRecord:
    """Return a visible chunk; raises NotFound."""
    found = session.execute(
        select(ChunkRow, FileRow.filename, FileRow.file_type)
        .join(FileRow, FileRow.id == ChunkRow.file_id)
        .where(ChunkRow.chunk_id == chunk_id, FileRow.status == "completed")
    ).first()
    if found is None:
        raise NotFound("There is no such chunk.")
    row, filename, file_type = found
    return row.record(filename, file_type)


@dataclass(frozen=True)
class Passage:
    """What is known of a chunk before its text is read."""

    file_id: int
    path: str
    number: int
    vector: bytes
    """As stored."""


def visible_passages(session: Session, ids: Iterable[int]) -> dict[int, Passage]:
    """Return those of the chunks that are visible, by id."""
    # Not joined with the files: SQLite would begin with these, and read every chunk.
    rows = session.execute(
        select(ChunkRow.id, ChunkRow.file_id, ChunkRow.number, VectorRow.vector)
        .join(VectorRow, VectorRow.id == ChunkRow.id)
        .where(ChunkRow.id.in_(sorted(ids)))
    ).all()
    files = session.execute(
        select(FileRow.id, FileRow.status, FileRow.path).where(FileRow.id.in_({row.file_id for row in rows}))
    )
    paths = {file_id: path for file_id, status, path in files if status == "completed"}
    return {
        id: Passage(file_id, paths[file_id], number, vector) for id, file_id, number, vector in rows if file_id in paths
    }


def read_chunks(session: Session, ids: Iterable[int]) -> dict[int, ChunkRecord]:
    """Return chunks by id."""
    rows = session.execute(
        select(ChunkRow, FileRow.filename, FileRow.file_type)
        .join(FileRow, FileRow.id == ChunkRow.file_id)
        .where(ChunkRow.id.in_(list(ids)))
    )
    return {row.id: row.record(filename, file_type) for row, filename, file_type in rows}


@dataclass(frozen=True)
class PassageText:
    text: str
    section: tuple[Any, ...]
    """What of its file a reader has in view: its page, or the headings that it stands under; empty without either."""


def read_texts(session: Session, ids: Iterable[int]) -> dict[int, PassageText]:
    """Return the texts of chunks by id."""
    rows = session.execute(select(ChunkRow.id, ChunkRow.text, ChunkRow.source_info).where(ChunkRow.id.in_(list(ids))))
    return {id: PassageText(text, _section(source_info)) for id, text, source_info in rows}


def _section(source_info: dict[str, Any]) -> tuple[Any, ...]:
    return (source_info["page"],) if "page" in source_info else tuple(source_info.get("heading", ()))


def num_visible(session: Session) -> int:
    return int(session.scalar(select(func.sum(FileRow.total_chunks)).where(FileRow.status == "completed")) or 0)


def read_vectors(session: Session, file_id: int | None = None) -> Iterator[tuple[list[int], Vectors]]:
    """Yield the ids and vectors of the chunks of one file, or of all completed files, some thousands at a time."""
    rows = select(VectorRow.id, VectorRow.vector).join(ChunkRow, ChunkRow.id == VectorRow.id)
    rows = rows.where(stored_length(VectorRow.vector) == STORED_BYTES)  # `verify` reports the others
    if file_id is None:
        rows = rows.join(FileRow, FileRow.id == ChunkRow.file_id).where(FileRow.status == "completed")
    else:
        rows = rows.where(ChunkRow.file_id == file_id)
    result = session.execute(rows.order_by(VectorRow.id).execution_options(yield_per=_READ_AT_ONCE))
    for partition in result.partitions():
        yield [id for id, _ in partition], from_stored([vector for _, vector in partition])
