"""Compares what the library keeps several times: originals and rows, rows and words, rows and vectors.

The functions take an open library's parts and do the same whether a server runs or a command was started instead of
one.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from deployments.cancellation import Cancellation
from deployments.counted import counted
from deployments.library.backend import WordsBackend
from deployments.library.chunks import num_visible
from deployments.library.originals import Originals
from deployments.library.stored_vectors import STORED_BYTES, stored_length
from deployments.library.tables import ChunkRow, FileRow, JobRow, VectorRow, chunk_id_range
from deployments.library.types import FILE_TYPES


def suspect_originals(session: Session, originals: Originals, cancellation: Cancellation) -> list[str]:
    """Return the stored names of originals that are missing, have changed, or belong to no file. Files that are
    uploaded or deleted meanwhile may be among them."""
    checksums = list(session.scalars(select(FileRow.checksum).order_by(FileRow.id)))
    suspects = []
    for count, checksum in enumerate(checksums):
        cancellation.check(f"it had compared {count} of {len(checksums)} originals")
        if _stored_checksum(originals, checksum) != checksum:
            suspects.append(originals.name(checksum))
    return suspects + sorted(set(originals.stored()) - set(map(originals.name, checksums)))


def original_problems(session: Session, originals: Originals, suspects: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with some originals; nothing may change meanwhile."""
    suspects = list(suspects)
    if not suspects:
        return
    present = set(originals.stored())
    files = {originals.name(file.checksum): file for file in session.scalars(select(FileRow))}
    for name in suspects:
        file = files.get(name)
        if file is None:
            if name in present:
                yield f"The original {name} belongs to no file."
            continue
        stored = _stored_checksum(originals, file.checksum)
        if stored is None:
            yield f"The original of file {file.id} ({file.filename}) is missing."
        elif stored != file.checksum:
            yield f"The original of file {file.id} ({file.filename}) has changed on the disk."


def _stored_checksum(originals: Originals, checksum: str) -> str | None:
    """Return the checksum of what is stored under a checksum; None if nothing is."""
    try:
        return originals.checksum(checksum)
    except FileNotFoundError:
        return None


def row_problems(session: Session) -> Iterator[str]:
    """Yield what does not fit among files, jobs, chunks and vectors."""
    with_job = set(session.scalars(select(JobRow.file_id)))
    for file in session.scalars(select(FileRow).order_by(FileRow.id)):
        if (file.status in ("pending", "processing")) != (file.id in with_job):
            jobs = "a job" if file.id in with_job else "no job"
            yield f"File {file.id} ({file.filename}) is {file.status}, but has {jobs}."
        of_file = ChunkRow.file_id == file.id
        count, last = session.execute(select(func.count(), func.max(ChunkRow.number)).where(of_file)).one()
        if file.status == "completed" and (count != file.total_chunks or (count and last != count - 1)):
            wanted = counted(file.total_chunks, "chunk")
            yield f"File {file.id} ({file.filename}) should have {wanted}, but has {count}."
        if file.status == "failed" and count:
            yield f"File {file.id} ({file.filename}) has failed, but has {counted(count, 'chunk')}."
    for file_type in FILE_TYPES:
        first, last = chunk_id_range(file_type)
        wrong = session.scalar(
            select(func.count())
            .select_from(ChunkRow)
            .join(FileRow, FileRow.id == ChunkRow.file_id)
            .where(ChunkRow.id.between(first, last) != (FileRow.file_type == file_type))
        )
        if wrong:
            yield f"Chunks with an id that is not of their file's type: {wrong}."
    without_vector = session.scalar(
        select(func.count())
        .select_from(ChunkRow)
        .outerjoin(VectorRow, VectorRow.id == ChunkRow.id)
        .where((VectorRow.id.is_(None)) | (stored_length(VectorRow.vector) != STORED_BYTES))
    )
    if without_vector:
        yield f"Chunks with no vector, or one of another length: {without_vector}."


def word_problems(session: Session, words: WordsBackend) -> Iterator[str]:
    """Yield whether the words' index differs from the chunks' text; needs a transaction that may write."""
    if not words.fits(session):
        yield "The words' index does not fit the text of the chunks."
        return
    if (indexed := words.num_chunks(session)) != (visible := num_visible(session)):
        yield f"The words' index has {counted(indexed, 'chunk')} instead of {visible}."
