"""Where a library keeps rows, words and vectors: in SQLite in its folder, or in Postgres.

Everything else (tables, chunks, jobs, files, events, history, search) is the same for both. The words' index of both
has the same terms and ranks by the same BM25; vectors are the same float16, searched exactly.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from deployments.cancellation import Cancellation
from deployments.embedder.types import Vectors
from deployments.library.database import Database
from deployments.library.encryption import Keys
from deployments.library.lookup import Groups, Lookup
from deployments.library.originals import Originals
from deployments.library.settings import LibraryConfig
from deployments.library.types import FileType
from deployments.library.words import Terms

DATABASE_FILE = "library.db"
"""SQLite's, in the library's folder."""


class WordsBackend(Protocol):
    """The words' index. Methods take the session of the transaction that they belong to; deployments/library/words.py
    says what each returns."""

    def ensure(self, session: Session) -> bool: ...

    def rebuild(self, session: Session) -> None: ...

    def add(self, session: Session, file_id: int) -> None: ...

    def remove(self, session: Session, file_id: int) -> None: ...

    def search(
        self, session: Session, lookup: Lookup, id_ranges: Iterable[tuple[int, int]], limit: int
    ) -> list[tuple[int, float]]: ...

    def matching(self, session: Session, groups: Groups, ids: Iterable[int]) -> set[int]: ...

    def num_chunks(self, session: Session) -> int: ...

    def num_chunks_with(self, session: Session, term: str) -> int: ...

    def occurs(self, session: Session, phrase: str) -> bool: ...

    def terms(self, session: Session) -> list[str]: ...

    def fits(self, session: Session) -> bool: ...

    def merge(self, session: Session, *, start: bool) -> bool: ...


class VectorsBackend(Protocol):
    """The vectors' index; deployments/library/vectors.py says what each method returns."""

    def size(self, session: Session) -> int: ...

    def load(self, session: Session) -> None: ...

    def add_file(self, session: Session, file_type: FileType, file_id: int) -> None: ...

    def remove(self, file_type: FileType, ids: Sequence[int]) -> None: ...

    def search(
        self, session: Session, vector: Vectors, file_types: Iterable[FileType], limit: int
    ) -> list[tuple[int, float]]: ...

    def problems(self, session: Session, cancellation: Cancellation) -> Iterator[str]: ...


@dataclass(frozen=True)
class Backend:
    database: Database
    words: WordsBackend
    vectors: VectorsBackend


def open_backend(
    config: LibraryConfig, originals: Originals, keys: Keys | None, terms: Terms, lock_wait_s: float
) -> Backend:
    """Open the database that the settings name; the folder must be locked. Raises ModelNotLoaded."""
    # Imported here: FAISS takes memory that Postgres's users save, and psycopg is there only with the extra.
    if config.database_url.get_secret_value():
        from deployments.library.postgres import open_postgres

        return open_postgres(config, originals, terms, lock_wait_s)
    from deployments.library.sqlite import open_sqlite

    return open_sqlite(config, keys)
