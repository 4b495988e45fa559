"""The first version of the tables."""

import sqlalchemy as sa
from alembic import op

from deployments.library.stored_vectors import STORED_VECTOR

revision = "0001"
down_revision = None

INTEGER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", INTEGER, primary_key=True),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("folded_path", sa.String, nullable=False),
        sa.Column("file_type", sa.String, nullable=False),
        sa.Column("mime_type", sa.String, nullable=False),
        sa.Column("file_format", sa.String, nullable=False),
        sa.Column("file_size", INTEGER, nullable=False),
        sa.Column("upload_time", sa.Float, nullable=False),
        sa.Column("checksum", sa.String, nullable=False, unique=True),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("fraction", sa.Float, nullable=False),
        sa.Column("eta_s", sa.Float),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("error_message", sa.String),
        sa.Column("total_chunks", INTEGER, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_files_status", "files", ["status"])
    op.create_table(
        "jobs",
        sa.Column("id", INTEGER, primary_key=True),
        sa.Column("file_id", INTEGER, sa.ForeignKey("files.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("due_time", sa.Float, nullable=False),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("worker", sa.String),
        sa.Column("lease", sa.String),
        sa.Column("lease_end", sa.Float),
        sa.Column("lease_start", sa.Float),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chunks",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("chunk_id", sa.String, nullable=False, unique=True),
        sa.Column("file_id", INTEGER, sa.ForeignKey("files.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("source_info", sa.JSON, nullable=False),
        sa.Column("parts", sa.JSON, nullable=False),
        sa.UniqueConstraint("file_id", "number"),
    )
    op.create_table(
        "vectors",
        sa.Column(
            "id",
            INTEGER,
            sa.ForeignKey("chunks.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("vector", STORED_VECTOR, nullable=False),
    )
    op.create_table(
        "history",
        sa.Column("id", INTEGER, primary_key=True),
        sa.Column("query", sa.String, nullable=False),
        sa.Column("results_count", INTEGER, nullable=False),
        sa.Column("search_time", sa.Float, nullable=False),
        sa.Column("response_time_ms", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "events",
        sa.Column("seq", INTEGER, primary_key=True),
        sa.Column("file_id", INTEGER, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("fraction", sa.Float, nullable=False),
        sa.Column("eta_s", sa.Float),
        sa.Column("message", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_file_id", "events", ["file_id"])
    op.create_table(
        "outcomes",
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("outcome", sa.JSON, nullable=False),
    )
    op.create_index("ix_outcomes_time", "outcomes", ["time"])
    op.create_table(
        "counters",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
