"""The vectors' index in Postgres: exact search over the rows themselves, by pgvector."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import literal, select
from sqlalchemy.orm import Session
from sqlalchemy.types import Float

from deployments.cancellation import Cancellation
from deployments.embedder.types import Vectors
from deployments.library.chunks import num_visible
from deployments.library.stored_vectors import STORED_VECTOR, to_stored
from deployments.library.tables import ChunkRow, FileRow, VectorRow, chunk_id_ranges
from deployments.library.types import FileType


class PostgresVectors:
    """Has nothing of its own that could differ from the rows, so there is nothing to load, to add or to check."""

    def size(self, session: Session) -> int:
        return num_visible(session)

    def load(self, session: Session) -> None: ...

    def add_file(self, session: Session, file_type: FileType, file_id: int) -> None: ...

    def remove(self, file_type: FileType, ids: Sequence[int]) -> None: ...

    def problems(self, session: Session, cancellation: Cancellation) -> Iterator[str]:
        return iter(())

    def search(
        self, session: Session, vector: Vectors, file_types: Iterable[FileType], limit: int
    ) -> list[tuple[int, float]]:
        """Return the ids with the largest cosine to `vector` (shape (1, VECTOR_DIM)) and that cosine, the best first;
        equal ones by id."""
        [stored] = to_stored(vector)
        # `<#>` is the negative inner product: of vectors of length 1, the negative cosine.
        distance = VectorRow.vector.op("<#>", return_type=Float())(literal(stored, STORED_VECTOR))
        # Few chunks are invisible, those of files that are being indexed; the others need not be looked up.
        invisible = (
            select(ChunkRow.id).join(FileRow, FileRow.id == ChunkRow.file_id).where(FileRow.status != "completed")
        )
        found: list[tuple[int, float]] = []
        for first, last in chunk_id_ranges(file_types):
            nearest = (
                select(VectorRow.id, distance.label("distance"))
                .where(VectorRow.id.between(first, last), VectorRow.id.not_in(invisible))
                .order_by("distance", VectorRow.id)
                .limit(limit)
            )
            found += ((id, -value) for id, value in session.execute(nearest))
        found.sort(key=lambda hit: (-hit[1], hit[0]))
        return found[:limit]
