"""The API over a real library, indexing and document parser, on a port of this machine. Only the models are fakes."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import uvicorn

from deployments.document_parser.deployment import DocumentParserDeployment
from deployments.document_parser.settings import DocumentParserConfig
from deployments.embedder.types import Vectors
from deployments.indexing.deployment import IndexingDeployment
from deployments.indexing.settings import IndexingConfig
from deployments.library.deployment import LibraryDeployment
from deployments.library.settings import LibraryConfig
from deployments.media import Media, Pixels
from deployments.text_reader.deployment import TextReaderDeployment
from deployments.text_reader.settings import TextReaderConfig
from deployments.text_reader.types import ReadImage
from samples.running_server import free_port
from serve_app.api import create_api
from serve_app.settings import AppConfig
from tests.serve_app.fakes import FakeGraph, OpensSharedMedia
from tests.serve_app.library.conftest import WordVectors, vectors_of


class WordEmbedder(WordVectors):
    """The same vectors for passages; a word is a token."""

    async def embed_passages(self, texts: list[str], *, deadline: float) -> Vectors:
        if self.error is not None:
            raise self.error
        return vectors_of(texts)

    async def count_tokens(self, texts: list[str], *, deadline: float) -> list[int]:
        return [len(text.split()) for text in texts]


class NoText:
    """A text reader that sees nothing to read."""

    async def read_image(self, media: Media, *, deadline: float) -> ReadImage:
        return ReadImage(64, 48, [])

    async def read_pixels(self, pixels: Pixels, *, deadline: float) -> ReadImage:
        return ReadImage(64, 48, [])


@contextmanager
def serving_library(
    graph: FakeGraph, folder: Path, *, with_ocr: bool = False, encryption_key: str | None = None
) -> Iterator[str]:
    """Serve the library in `folder` until the block ends, and yield the URL; `with_ocr` with the real text reader."""
    port = free_port()
    started: list[uvicorn.Server] = []
    failure: list[BaseException] = []

    async def run() -> None:
        library = LibraryDeployment(LibraryConfig.model_validate({"folder": folder, "encryption_key": encryption_key}))
        text_reader = TextReaderDeployment(TextReaderConfig(), lazy=True) if with_ocr else NoText()
        parser = DocumentParserDeployment(DocumentParserConfig())
        embedder = graph.embedder or WordEmbedder()
        graph.library, graph.document_parser, graph.embedder = library, parser, embedder
        graph.text_reader = text_reader
        graph.indexing = indexing = IndexingDeployment(
            IndexingConfig(),
            library=library,
            document_parser=cast(Any, OpensSharedMedia(parser)),
            text_reader=cast(Any, OpensSharedMedia(text_reader)),
            embedder=embedder,
            captioner=graph.captioner,
            transcriber=graph.transcriber,
            frame_sampler=graph.frame_sampler,
            wait_for_turn=_at_once,
            share=graph.share,
        )
        config = uvicorn.Config(create_api(graph.context(AppConfig())), port=port, ws="none", log_level="warning")
        server = uvicorn.Server(config)
        started.append(server)
        try:
            await server.serve()
        finally:
            await indexing.close()

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while thread.is_alive() and not (started and started[0].started):
            thread.join(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        if started:
            started[0].should_exit = True
        thread.join()
        # The library closes when nothing refers to it any more, as when a replica's process ends.
        started.clear()
        graph.library = graph.document_parser = graph.text_reader = graph.indexing = None
        gc.collect()
    assert failure == []


async def _at_once() -> None:
    """No interactive request is being worked on."""
