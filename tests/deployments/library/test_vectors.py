"""The vectors' index."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.library.stored_vectors import from_stored, to_stored
from deployments.library.tables import chunk_id_range, chunk_id_ranges, file_type_of_chunk
from deployments.library.types import FILE_TYPES
from deployments.library.vectors import VectorIndex

NO_ROWS = Session()
"""A search in memory reads none."""


def unit_vectors(count: int, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, VECTOR_DIM)).astype(np.float32)
    normalized: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalized


def test_stored_vectors_are_those_of_the_index_and_close_to_the_given_ones() -> None:
    vectors = unit_vectors(5)
    stored = from_stored(to_stored(vectors))
    assert np.abs(stored - vectors).max() < 2e-4
    index = VectorIndex()
    index.add("document", [3, 1, 2, 5, 4], vectors)
    assert (index.get("document", [3, 4]) == stored[[0, 4]]).all()
    assert index.ids("document").tolist() == [1, 2, 3, 4, 5]


def test_search_is_exact_and_by_type() -> None:
    index = VectorIndex()
    documents, pictures = unit_vectors(200, 1), unit_vectors(50, 2)
    first, _ = chunk_id_range("image")
    index.add("document", range(1, 201), documents)
    index.add("image", range(first, first + 50), pictures)
    query = unit_vectors(1, 3)
    cosines = np.concatenate([documents, pictures]) @ query[0]
    ids = [*range(1, 201), *range(first, first + 50)]
    expected = [ids[i] for i in np.argsort(-cosines)[:20]]
    assert [id for id, _ in index.search(NO_ROWS, query, FILE_TYPES, 20)] == expected
    assert [id for id, _ in index.search(NO_ROWS, query, ["image"], 20)] == [
        id for id in (ids[i] for i in np.argsort(-cosines)) if id >= first
    ][:20]
    assert index.search(NO_ROWS, query, ["audio"], 20) == []
    assert len(index.search(NO_ROWS, query, ["image"], 1000)) == 50


def test_removed_and_replaced_vectors() -> None:
    index = VectorIndex()
    vectors = unit_vectors(10)
    index.add("document", range(1, 11), vectors)
    index.remove("document", [2, 3, 99])
    assert index.ids("document").tolist() == [1, *range(4, 11)]
    assert len(index) == 8
    first, _ = chunk_id_range("video")
    index.replace([([1, first], vectors[:2]), ([first + 1], vectors[2:3])])
    assert index.ids("document").tolist() == [1]
    assert index.ids("video").tolist() == [first, first + 1]
    assert index.search(NO_ROWS, vectors[1:2], ["video"], 1)[0][0] == first


def test_searches_and_changes_at_once() -> None:
    index = VectorIndex()
    vectors = unit_vectors(100)
    index.add("document", range(1, 101), vectors)
    done = threading.Event()
    wrong: list[object] = []

    def keep_searching() -> None:
        while not done.is_set():
            found = index.search(NO_ROWS, vectors[7:8], ["document"], 5)
            if found[0][0] != 8:
                wrong.append(found)

    threads = [threading.Thread(target=keep_searching) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        index.add("document", range(1000, 1100), vectors[::-1])
        index.remove("document", range(1000, 1100))
    done.set()
    for thread in threads:
        thread.join()
    # While the copies are there, the chunk with the same vector and a higher id comes second.
    assert wrong == []


def test_ids_tell_the_type() -> None:
    for file_type in FILE_TYPES:
        first, last = chunk_id_range(file_type)
        assert file_type_of_chunk(first) == file_type_of_chunk(last) == file_type
    assert len(chunk_id_ranges(FILE_TYPES)) == 1
    assert len(chunk_id_ranges(["document", "audio"])) == 2
    assert chunk_id_ranges(["image", "document"]) == [(1, chunk_id_range("image")[1])]


def test_faiss_starts_no_threads() -> None:
    script = (
        "import psutil, sys, numpy as np\nfrom deployments.library.vectors import VectorIndex\n"
        "index = VectorIndex()\nindex.add('document', range(1, 5001), np.ones((5000, 384), np.float32))\n"
        "before = psutil.Process().num_threads()\nindex.search(None, np.ones((1, 384), np.float32), ['document'], 10)\n"
        "assert 'torch' not in sys.modules\n"
        "sys.stdout.write(f'{before} {psutil.Process().num_threads()}')"
    )
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PATH": ""}
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "1 1"
