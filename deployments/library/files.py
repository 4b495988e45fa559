"""Rows of files: found, listed, added, deleted."""

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from deployments.errors import NotFound
from deployments.library.tables import FileRow
from deployments.library.types import FileFilter, FilePage, NewFile


def find_file(session: Session, file_id: int) -> FileRow:
    """Return a file's row; raises NotFound."""
    # SQLite's integers have 64 bits; a larger number is no file's.
    row = session.get(FileRow, file_id) if 0 < file_id < 2**63 else None
    if row is None:
        raise NotFound(f"There is no file {file_id}.")
    return row


def find_content(session: Session, checksum: str) -> FileRow | None:
    """Return the row of the file with this content, if there is one."""
    return session.scalar(select(FileRow).where(FileRow.checksum == checksum))


def insert_file(session: Session, new_file: NewFile, file_size: int, checksum: str) -> FileRow:
    row = FileRow(
        filename=new_file.filename,
        path=new_file.path,
        folded_path=new_file.path.casefold(),
        file_type=new_file.file_type,
        mime_type=new_file.mime_type,
        file_format=new_file.file_format,
        file_size=file_size,
        upload_time=time.time(),
        checksum=checksum,
        status="pending",
        stage="waiting",
        fraction=0.0,
        message="",
        total_chunks=0,
    )
    session.add(row)
    session.flush()
    return row


def list_files(session: Session, wanted: FileFilter, limit: int, offset: int) -> FilePage:
    """Return the files that match, newest first."""
    rows = select(FileRow)
    if wanted.file_type is not None:
        rows = rows.where(FileRow.file_type == wanted.file_type)
    if wanted.status is not None:
        rows = rows.where(FileRow.status == wanted.status)
    if wanted.name is not None:
        rows = rows.where(FileRow.folded_path.contains(wanted.name.casefold(), autoescape=True))
    if wanted.checksum is not None:
        rows = rows.where(FileRow.checksum == wanted.checksum.lower())
    total = session.scalar(select(func.count()).select_from(rows.subquery())) or 0
    page = session.scalars(rows.order_by(FileRow.id.desc()).limit(limit).offset(offset))
    return FilePage([row.record() for row in page], total)
