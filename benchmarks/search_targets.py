"""What a search benchmark measures: a running server, or the deployments in this process, without Ray."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import requests

from deployments.library.settings import LibraryConfig
from deployments.library.types import FileFilter, SearchHit, SearchRequest
from deployments.media import Media, as_media
from serve_app.settings import AppConfig

from .search_cases import Result

POLL_S = 0.05
CALL_S = 3600.0
"""No call of a benchmark takes so long."""
MAX_FILES = 100
"""In the library of a benchmark in this process."""


class SearchTarget(Protocol):
    def add(self, path: Path) -> None:
        """Put a file into the library."""

    def wait(self) -> list[str]:
        """Return once no file is waiting or being indexed; returns a line for each file that failed."""

    def search(self, question: str, limit: int) -> Sequence[Result]:
        """Return the best passages, the best first."""

    def close(self) -> None: ...


class Server:
    """A server that is running, by its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def add(self, path: Path) -> None:
        with path.open("rb") as file:
            self._checked(requests.post(f"{self._url}/upload", files={"file": (path.name, file)}, timeout=CALL_S))

    def wait(self) -> list[str]:
        while any(self._files(status) for status in ("pending", "processing")):
            time.sleep(POLL_S)
        return [f"{file['filename']}: {file['error']['message']}" for file in self._files("failed")]

    def search(self, question: str, limit: int) -> Sequence[Result]:
        body = {"query": question, "limit": limit, "answer": False}
        answer = self._checked(requests.post(f"{self._url}/search", json=body, timeout=CALL_S))
        return [
            Result(
                result["metadata"]["filename"],
                result["metadata"]["text"],
                result["metadata"]["source_info"],
                result["similarity"],
            )
            for result in answer["results"]
        ]

    def close(self) -> None:
        """Leave the server as it is."""

    def _files(self, status: str) -> list[dict[str, Any]]:
        query = {"status": status, "limit": "100"}
        files: list[dict[str, Any]] = self._checked(requests.get(f"{self._url}/files", params=query, timeout=CALL_S))[
            "files"
        ]
        return files

    def _checked(self, response: requests.Response) -> Any:
        if not response.ok:
            raise RuntimeError(f"{response.request.method} {response.url}: {response.status_code} {response.text}")
        return response.json()


class InProcess:
    """The deployments in this process, with a new library in a temporary folder."""

    def __init__(self, config: AppConfig) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="search_quality_")
        library = LibraryConfig(folder=Path(self._folder.name))
        self._runner = asyncio.Runner()
        self._runner.run(self._start(config.model_copy(update={"library": library})))

    async def _start(self, config: AppConfig) -> None:
        from deployments.captioner.deployment import CaptionerDeployment
        from deployments.document_parser.deployment import DocumentParserDeployment
        from deployments.embedder.deployment import EmbedderDeployment
        from deployments.frame_sampler.deployment import FrameSamplerDeployment
        from deployments.indexing.deployment import IndexingDeployment
        from deployments.library.deployment import LibraryDeployment
        from deployments.text_reader.deployment import TextReaderDeployment
        from deployments.transcriber.deployment import TranscriberDeployment

        self._library = LibraryDeployment(config.library)
        self._embedder = EmbedderDeployment(config.embedder, config.weights, lazy=True)
        self._indexing = IndexingDeployment(
            config.indexing,
            library=self._library,
            document_parser=DocumentParserDeployment(config.document_parser),
            text_reader=TextReaderDeployment(config.text_reader, lazy=True),
            embedder=self._embedder,
            captioner=CaptionerDeployment(config.captioner, config.weights, config.limits, lazy=True),
            transcriber=TranscriberDeployment(config.transcriber, config.speakers, config.weights, lazy=True),
            frame_sampler=FrameSamplerDeployment(config.frame_sampler),
            wait_for_turn=_no_wait,
            share=_share,
        )

    def add(self, path: Path) -> None:
        self._runner.run(self._add(path))

    async def _add(self, path: Path) -> None:
        from serve_app.file_types import identify

        media = as_media(path.read_bytes())
        await self._library.add_file(media, await identify(media, path.name, ""), deadline=_deadline())
        await self._indexing.look_for_work(deadline=_deadline())

    def wait(self) -> list[str]:
        return self._runner.run(self._wait())

    async def _wait(self) -> list[str]:
        while (await self._library.stats(deadline=_deadline())).active_files:
            await asyncio.sleep(POLL_S)
        page = await self._library.files(FileFilter(status="failed"), MAX_FILES, 0, deadline=_deadline())
        return [f"{file.filename}: {file.error.message}" for file in page.files if file.error is not None]

    def seconds_to_index(self, path: Path) -> float:
        """Put a file into the library and return how long it takes until it can be found."""
        start = time.perf_counter()
        self.add(path)
        failures = self.wait()
        if failures:
            raise RuntimeError("; ".join(failures))
        return time.perf_counter() - start

    def texts(self) -> list[str]:
        """Return the texts of all chunks."""
        return self._runner.run(self._texts())

    async def _texts(self) -> list[str]:
        page = await self._library.files(FileFilter(), MAX_FILES, 0, deadline=_deadline())
        texts: list[str] = []
        for file in page.files:
            chunks = await self._library.chunks(file.file_id, 0, file.total_chunks, deadline=_deadline())
            texts += (chunk.text for chunk in chunks)
        return texts

    def remove_all(self) -> None:
        """Delete all files."""
        self._runner.run(self._remove_all())

    async def _remove_all(self) -> None:
        page = await self._library.files(FileFilter(), MAX_FILES, 0, deadline=_deadline())
        for file in page.files:
            await self._library.delete_file(file.file_id, deadline=_deadline())

    def search(self, question: str, limit: int) -> Sequence[Result]:
        return [
            Result(hit.chunk.filename, hit.chunk.text, hit.chunk.source_info, hit.similarity)
            for hit in self.hits(question, limit)
        ]

    def hits(self, question: str, limit: int) -> list[SearchHit]:
        """Return the best chunks, the best first."""
        return self._runner.run(self._hits(question, limit))

    async def _hits(self, question: str, limit: int) -> list[SearchHit]:
        vector = await self._embedder.embed_query(question, deadline=_deadline())
        return await self._library.search(SearchRequest(question, limit), vector, deadline=_deadline())

    def close(self) -> None:
        self._runner.run(self._indexing.close())
        self._runner.close()
        self._folder.cleanup()


async def _no_wait() -> None:
    """Nobody else uses this process."""


@asynccontextmanager
async def _share(media: Media) -> AsyncIterator[Media]:
    yield media


def _deadline() -> float:
    return time.time() + CALL_S
