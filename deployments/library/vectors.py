"""The vectors' index: exact cosine search in memory, with FAISS, over the vectors in the rows.

One index for each file type, so that a search for one type ranks no other. The index holds the rows' float16 values
themselves (`QT_fp16`), so a similarity is the same whether it comes from the index or from a row, nothing has to be
trained, and rebuilding gives the same answers. Measured with 100,000 vectors on one thread: 8 ms a search and 77 MB,
against 11 ms and 154 MB for float32, and 9 ms and 39 MB for 8 bits, which lose 2 % of the neighbours.
"""

import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from deployments.cancellation import Cancellation
from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.library.chunks import read_vectors
from deployments.library.tables import chunk_id_range
from deployments.library.types import FILE_TYPES, FileType

Ids = NDArray[np.int64]


class VectorIndex:
    """Vectors by the ids of their chunks. Searches and changes from several threads take turns."""

    def __init__(self) -> None:
        self._faiss = _import_faiss()
        self._lock = threading.Lock()
        self._indexes: dict[FileType, Any] = {file_type: self._empty() for file_type in FILE_TYPES}

    def __len__(self) -> int:
        return sum(index.ntotal for index in self._indexes.values())

    def size(self, session: Session) -> int:
        """Return how many vectors are in the index."""
        return len(self)

    def load(self, session: Session) -> None:
        """Hold the vectors of all visible chunks."""
        self.replace(read_vectors(session))

    def add_file(self, session: Session, file_type: FileType, file_id: int) -> None:
        """Add the chunks of a file that is completed in this transaction."""
        for ids, vectors in read_vectors(session, file_id):
            self.add(file_type, ids, vectors)

    def add(self, file_type: FileType, ids: Sequence[int], vectors: Vectors) -> None:
        if len(ids):
            with self._lock:
                self._indexes[file_type].add_with_ids(np.ascontiguousarray(vectors, np.float32), _as_ids(ids))

    def remove(self, file_type: FileType, ids: Sequence[int]) -> None:
        """Remove those of the ids that are there."""
        if len(ids):
            with self._lock:
                self._indexes[file_type].remove_ids(self._faiss.IDSelectorBatch(_as_ids(ids)))

    def replace(self, batches: Iterable[tuple[list[int], Vectors]]) -> None:
        """Hold the vectors of these batches, each in order of the ids, and no others."""
        indexes = {file_type: self._empty() for file_type in FILE_TYPES}
        for ids, vectors in batches:
            for file_type, rows in rows_by_type(ids):
                indexes[file_type].add_with_ids(vectors[rows], _as_ids(ids[rows]))
        with self._lock:
            self._indexes = indexes

    def search(
        self, session: Session, vector: Vectors, file_types: Iterable[FileType], limit: int
    ) -> list[tuple[int, float]]:
        """Return the ids with the largest cosine to `vector` (shape (1, VECTOR_DIM)) and that cosine, the best first;
        equal ones by id."""
        found: list[tuple[int, float]] = []
        with self._lock:
            for file_type in file_types:
                index = self._indexes[file_type]
                if index.ntotal:
                    cosines, ids = index.search(np.ascontiguousarray(vector, np.float32), min(limit, index.ntotal))
                    found += zip(ids[0].tolist(), cosines[0].tolist(), strict=True)
        found.sort(key=lambda hit: (-hit[1], hit[0]))
        return found[:limit]

    def ids(self, file_type: FileType) -> Ids:
        """Return the ids that are in the index of one type, in order."""
        with self._lock:
            ids: Ids = self._faiss.vector_to_array(self._indexes[file_type].id_map)
        return np.sort(ids)

    def get(self, file_type: FileType, ids: Sequence[int]) -> Vectors:
        """Return the vectors of ids that are in the index."""
        with self._lock:
            index = self._indexes[file_type]
            vectors = [index.reconstruct(int(id)) for id in ids]
        return np.stack(vectors) if vectors else np.empty((0, VECTOR_DIM), np.float32)

    def problems(self, session: Session, cancellation: Cancellation) -> Iterator[str]:
        """Yield how the index differs from the rows."""
        indexed = {file_type: set(self.ids(file_type).tolist()) for file_type in FILE_TYPES}
        missing = different = 0
        for ids, stored in read_vectors(session):
            cancellation.check("it was still comparing vectors")
            for file_type, rows in rows_by_type(ids):
                positions = [i for i in range(rows.start, rows.stop) if ids[i] in indexed[file_type]]
                present = [ids[i] for i in positions]
                missing += rows.stop - rows.start - len(present)
                different += int(np.any(self.get(file_type, present) != stored[positions], axis=1).sum())
                indexed[file_type].difference_update(present)
        for number, what in (
            (missing, "that are missing from the vectors' index"),
            (different, "that differ from their rows in the vectors' index"),
            (sum(map(len, indexed.values())), "in the vectors' index that belong to no visible chunk"),
        ):
            if number:
                yield f"Vectors {what}: {number}."

    def _empty(self) -> Any:
        storage = self._faiss.IndexScalarQuantizer(
            VECTOR_DIM, self._faiss.ScalarQuantizer.QT_fp16, self._faiss.METRIC_INNER_PRODUCT
        )
        return self._faiss.IndexIDMap2(storage)


def rows_by_type(ids: Sequence[int]) -> Iterator[tuple[FileType, slice]]:
    """Yield which of some chunk ids, in order, are of each file type."""
    for file_type in FILE_TYPES:
        first, last = chunk_id_range(file_type)
        rows = slice(bisect_left(ids, first), bisect_right(ids, last))
        if rows.start < rows.stop:
            yield file_type, rows


def _as_ids(ids: Sequence[int]) -> Ids:
    return np.asarray(ids, dtype=np.int64)


def _import_faiss() -> Any:
    """Import FAISS, which takes 15 MB, with one thread: two searches at once have a core each, and idle threads of
    OpenMP and OpenBLAS would spin."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import faiss

    faiss.omp_set_num_threads(1)
    return faiss
