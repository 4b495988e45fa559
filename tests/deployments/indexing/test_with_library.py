"""The indexing with the real library and the real document parser."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from deployments.captioner.protocol import CaptionerService
from deployments.document_parser.deployment import DocumentParserDeployment
from deployments.document_parser.settings import DocumentParserConfig
from deployments.embedder.protocol import EmbedderService
from deployments.errors import ModelNotLoaded
from deployments.frame_sampler.protocol import FrameSamplerService
from deployments.indexing import leased_job, worker
from deployments.indexing.deployment import IndexingDeployment
from deployments.indexing.settings import IndexingConfig
from deployments.library.deployment import LibraryDeployment
from deployments.library.settings import LibraryConfig
from deployments.library.types import FileRecord, NewFile
from deployments.media import as_media
from deployments.text_reader.protocol import TextReaderService
from deployments.transcriber.protocol import TranscriberService
from tests.deployments.indexing.fakes import FakeServices, share
from tests.postgres_server import PostgresServer

SENTENCES = [f"This is sentence number {number}, which says nothing else." for number in range(400)]
TEXT = "# A title\n\n" + "\n\n".join(" ".join(SENTENCES[first : first + 8]) for first in range(0, 400, 8))


def in_a_minute() -> float:
    return time.time() + 60


@dataclass
class Laptop:
    """A library and its indexing; the services without a real one here are fakes."""

    library: LibraryDeployment
    services: FakeServices

    def start_indexing(self) -> IndexingDeployment:
        return IndexingDeployment(
            IndexingConfig(),
            library=self.library,
            document_parser=DocumentParserDeployment(DocumentParserConfig()),
            text_reader=cast(TextReaderService, self.services),
            embedder=cast(EmbedderService, self.services),
            captioner=cast(CaptionerService, self.services),
            transcriber=cast(TranscriberService, self.services),
            frame_sampler=cast(FrameSamplerService, self.services),
            wait_for_turn=self.services.wait_for_turn,
            share=share,
        )

    async def add(self, text: str) -> int:
        new_file = NewFile("notes.md", "notes.md", "document", "text/markdown", "markdown")
        added = await self.library.add_file(as_media(text.encode()), new_file, deadline=in_a_minute())
        return added.file.file_id

    async def until(self, file_id: int, condition: Callable[[FileRecord], bool]) -> FileRecord:
        while not condition(record := await self.library.file(file_id, deadline=in_a_minute())):
            await asyncio.sleep(0.02)
        return record

    async def text_of(self, file_id: int) -> str:
        chunks = await self.library.chunks(file_id, 0, 1000, deadline=in_a_minute())
        assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
        return " ".join(chunk.text for chunk in chunks)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_S", 0.05)
    monkeypatch.setattr(worker, "RELEASE_S", 0.1)
    monkeypatch.setattr(worker, "PAUSE_S", 0.01)


def run(folder: Path, scenario: Callable[[Laptop], Awaitable[None]], database_url: str = "") -> None:
    async def bounded() -> None:
        library = LibraryDeployment(LibraryConfig(folder=folder, database_url=SecretStr(database_url)))
        async with asyncio.timeout(120):
            await scenario(Laptop(library, FakeServices()))

    asyncio.run(bounded())


def test_a_document_is_indexed_word_for_word(tmp_path: Path) -> None:
    async def scenario(laptop: Laptop) -> None:
        file_id = await laptop.add(TEXT)
        indexing = laptop.start_indexing()
        record = await laptop.until(file_id, lambda file: file.status == "completed")
        assert (await laptop.text_of(file_id)).split() == TEXT.removeprefix("# ").split()
        assert record.total_chunks > leased_job.CHUNKS_PER_CALL
        await indexing.close()

    run(tmp_path, scenario)


def test_indexing_that_was_interrupted_starts_anew_with_nothing_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (worker, leased_job):
        monkeypatch.setattr(module, "LEASE_S", 1.0)

    async def scenario(laptop: Laptop) -> None:
        file_id = await laptop.add(TEXT)
        laptop.services.embed_after = 1
        first = laptop.start_indexing()
        while laptop.services.calls.count("embed_passages") < 2:
            await asyncio.sleep(0.01)
        await first.close()
        assert await laptop.text_of(file_id) == ""
        laptop.services.embed_after = None
        second = laptop.start_indexing()
        await laptop.until(file_id, lambda file: file.status == "completed")
        assert (await laptop.text_of(file_id)).split() == TEXT.removeprefix("# ").split()
        await second.close()

    run(tmp_path, scenario)


def test_a_file_that_waits_for_a_model_says_so_and_goes_on_when_it_is_there(tmp_path: Path) -> None:
    async def scenario(laptop: Laptop) -> None:
        laptop.services.embed_error = ModelNotLoaded("MiniLM is being fetched, 12 of 90 MB.")
        file_id = await laptop.add(TEXT)
        indexing = laptop.start_indexing()
        record = await laptop.until(
            file_id, lambda file: file.status == "pending" and "12 of 90" in file.progress.message
        )
        assert record.progress.stage == "waiting"
        assert record.error is None
        laptop.services.embed_error = None
        await laptop.until(file_id, lambda file: file.status == "completed")
        await indexing.close()

    run(tmp_path, scenario)


def test_a_file_that_is_deleted_while_it_is_indexed_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(laptop: Laptop) -> None:
        laptop.services.embed_after = 1
        file_id = await laptop.add(TEXT)
        indexing = laptop.start_indexing()
        while laptop.services.calls.count("embed_passages") < 2:
            await asyncio.sleep(0.01)
        await laptop.library.delete_file(file_id, deadline=in_a_minute())
        laptop.services.embed_after = None
        other = await laptop.add("Another file.")
        await laptop.until(other, lambda file: file.status == "completed")
        stats = await laptop.library.stats(deadline=in_a_minute())
        assert (stats.total_files, stats.total_chunks, stats.table_rows["chunks"]) == (1, 1, 1)
        await indexing.close()

    run(tmp_path, scenario)


def test_a_damaged_file_fails_with_its_reason(tmp_path: Path) -> None:
    async def scenario(laptop: Laptop) -> None:
        new_file = NewFile("a.pdf", "a.pdf", "document", "application/pdf", "pdf")
        added = await laptop.library.add_file(as_media(b"%PDF-1.4 and no more"), new_file, deadline=in_a_minute())
        indexing = laptop.start_indexing()
        record = await laptop.until(added.file.file_id, lambda file: file.status == "failed")
        assert record.error is not None
        assert record.error.code == "INVALID_FILE"
        await indexing.close()

    run(tmp_path, scenario)


def test_two_workers_share_a_library_in_postgres_and_one_takes_over_when_the_other_dies(
    tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (worker, leased_job):
        monkeypatch.setattr(module, "LEASE_S", 1.0)
    monkeypatch.setattr(leased_job, "RENEWAL_S", 0.2)

    async def scenario(laptop: Laptop) -> None:
        laptop.services.embed_after = 0
        ids = [await laptop.add(TEXT), await laptop.add(TEXT + "\n\nAnd a last sentence.")]
        doomed, other = laptop.start_indexing(), laptop.start_indexing()
        for file_id in ids:
            await laptop.until(file_id, lambda file: file.status == "processing")
        await doomed.close()
        await asyncio.sleep(1.5)  # its lease has run out; the other worker has renewed its own
        laptop.services.embed_after = None
        for file_id in ids:
            await laptop.until(file_id, lambda file: file.status == "completed")
        assert (await laptop.text_of(ids[0])).split() == TEXT.removeprefix("# ").split()
        assert (await laptop.library.verify(deadline=in_a_minute())).problems == []
        await other.close()

    run(tmp_path, scenario, postgres_server.new_database())
