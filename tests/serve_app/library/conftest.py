"""The API over a real library in a temporary folder. Only the models are fakes."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.library.deployment import LibraryDeployment
from deployments.library.settings import LibraryConfig
from deployments.library.types import ChunkPart, NewChunk, SourceInfo
from tests.serve_app.conftest import ORIGIN, MakeApi
from tests.serve_app.fakes import FakeGraph

IN_A_MINUTE = 1e12
"""A deadline that never comes."""


class WordVectors:
    """An embedder whose cosine is the part of words that two texts share."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def embed_query(self, text: str, *, deadline: float) -> Vectors:
        if self.error is not None:
            raise self.error
        return vectors_of([text])


def vectors_of(texts: list[str]) -> Vectors:
    vectors = np.zeros((len(texts), VECTOR_DIM), np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            vector[int(hashlib.md5(word.encode()).hexdigest(), 16) % VECTOR_DIM] += 1
        vector /= max(float(np.linalg.norm(vector)), 1e-9)
    return vectors


@dataclass
class LibraryApi:
    """A client of the API, and what the indexing would do."""

    client: TestClient
    library: LibraryDeployment

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine on the API's event loop."""
        assert self.client.portal is not None
        return self.client.portal.call(call)

    def upload(self, content: bytes, name: str = "notes.txt", **fields: str) -> int:
        response = self.client.post("/upload", files={"file": (name, content)}, data=fields)
        assert response.status_code == 200, response.text
        file_id: int = response.json()["file_id"]
        return file_id

    def index(self, *passages: tuple[str, SourceInfo, list[ChunkPart]]) -> None:
        """Index the next file with these passages, as the indexing does."""

        async def work() -> None:
            job = await self.library.lease_job("test", 60, deadline=IN_A_MINUTE)
            assert job is not None
            chunks = [NewChunk(text, source_info, parts) for text, source_info, parts in passages]
            vectors = vectors_of([chunk.text for chunk in chunks])
            assert await self.library.add_chunks(job.job_id, job.lease, 0, chunks, vectors, deadline=IN_A_MINUTE)
            assert await self.library.complete_job(job.job_id, job.lease, len(chunks), deadline=IN_A_MINUTE)

        self.run(work)

    def fail(self, code: str, message: str) -> None:
        async def work() -> None:
            job = await self.library.lease_job("test", 60, deadline=IN_A_MINUTE)
            assert job is not None
            await self.library.fail_job(job.job_id, job.lease, code, message, may_retry=False, deadline=IN_A_MINUTE)

        self.run(work)


@pytest.fixture
def embedder() -> WordVectors:
    return WordVectors()


@pytest.fixture
def api(make_api: MakeApi, graph: FakeGraph, embedder: WordVectors, tmp_path: Path) -> Iterator[LibraryApi]:
    library = LibraryDeployment(LibraryConfig(folder=tmp_path / "library"))
    graph.library, graph.embedder = library, embedder
    with TestClient(make_api(), headers={"Origin": ORIGIN}) as client:
        yield LibraryApi(client, library)
