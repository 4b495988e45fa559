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

from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.library.tables import chunk_id_range
from deployments.library.types import FILE_TYPES, FileType

STORED_BYTES = 2 * VECTOR_DIM
"""Of one vector."""

Ids = NDArray[np.int64]


def to_stored(vectors: Vectors) -> list[bytes]:
    """Return each vector as a row holds it: little-endian float16."""
    return [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f2")]


def from_stored(stored: Sequence[bytes]) -> Vectors:
    """Return vectors from rows, shape (len(stored), VECTOR_DIM)."""
    values = np.frombuffer(b"".join(stored), dtype="<f2").reshape(len(stored), VECTOR_DIM)
    return values.astype(np.float32)


class VectorIndex:
    """Vectors by the ids of their chunks. Searches and changes from several threads take turns."""

    def __init__(self) -> None:
        self._faiss = _import_faiss()
        self._lock = threading.Lock()
        self._indexes: dict[FileType, Any] = {file_type: self._empty() for file_type in FILE_TYPES}

    def __len__(self) -> int:
        return sum(index.ntotal for index in self._indexes.values())

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

    def search(self, vector: Vectors, file_types: Iterable[FileType], limit: int) -> list[tuple[int, float]]:
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
