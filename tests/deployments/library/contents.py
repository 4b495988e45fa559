"""Files, chunks and vectors for the tests, and short ways to put them into a library."""

import hashlib
import re
import time
from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import SecretStr

from deployments.cancellation import Cancellation
from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.library.library import Library
from deployments.library.types import ChunkPart, FileRecord, FileType, Job, NewChunk, NewFile, SearchHit, SearchRequest
from deployments.media import as_media

KEY = SecretStr("a key, long enough")
with_and_without_key = pytest.mark.parametrize("config", [None, KEY], indirect=True, ids=["plain", "encrypted"])
"""Runs a test on a library of each kind."""
IN_EACH_WAY = pytest.mark.parametrize(
    "config", [None, KEY, "postgres"], indirect=True, ids=["plain", "encrypted", "postgres"]
)
"""The same, and on one in Postgres."""

SAME_MEANING = {"automobile": "car", "physician": "doctor", "purchase": "buy"}
"""Words that have one vector."""


def vector_of(text: str) -> Vectors:
    """Return a vector, shape (1, VECTOR_DIM), that is the same for texts with the same words or SAME_MEANING, and
    nearly orthogonal for texts that share none."""
    total = np.zeros(VECTOR_DIM)
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.sha256(SAME_MEANING.get(word, word).encode()).digest()
        total += np.random.default_rng(int.from_bytes(digest[:8])).standard_normal(VECTOR_DIM)
    vector: Vectors = (total / (np.linalg.norm(total) or 1)).astype(np.float32)[np.newaxis]
    return vector


def vectors_of(texts: Sequence[str]) -> Vectors:
    return np.concatenate([vector_of(text) for text in texts]) if texts else np.empty((0, VECTOR_DIM), np.float32)


def new_file(path: str, file_type: FileType = "document") -> NewFile:
    return NewFile(path.rpartition("/")[2], path, file_type, "text/plain", "text")


def new_chunks(texts: Sequence[str]) -> list[NewChunk]:
    return [
        NewChunk(text, {"type": "document", "paragraph": i + 1}, [ChunkPart(0, len(text), {"paragraph": i + 1})])
        for i, text in enumerate(texts)
    ]


def upload(library: Library, path: str, content: str = "", file_type: FileType = "document") -> FileRecord:
    """Add a file whose content is its path, unless another is given."""
    return library.add_file(as_media((content or path).encode()), new_file(path, file_type)).file


def lease(library: Library, worker: str = "tests") -> Job:
    job = library.lease_job(worker, 30)
    assert job is not None
    return job


def index(library: Library, texts: Sequence[str]) -> FileRecord:
    """Index the next file: give it these chunks."""
    job = lease(library)
    assert library.add_chunks(job.job_id, job.lease, 0, new_chunks(texts), vectors_of(texts))
    assert library.complete_job(job.job_id, job.lease, len(texts))
    return library.file(job.file.file_id)


def add(library: Library, path: str, texts: Sequence[str], file_type: FileType = "document") -> FileRecord:
    """Add a file and index it."""
    upload(library, path, file_type=file_type)
    return index(library, texts)


def search(
    library: Library, query: str, *file_types: FileType, limit: int = 10, words_only: bool = True
) -> list[SearchHit]:
    vector = None if words_only else vector_of(query)
    return library.search(SearchRequest(query, limit, file_types), vector, Cancellation(time.time() + 60))


def found(library: Library, query: str, *file_types: FileType, words_only: bool = True) -> list[str]:
    """Return the texts that a search finds, the best first."""
    return [hit.chunk.text for hit in search(library, query, *file_types, words_only=words_only)]
