"""The embedder as a Ray Serve deployment: queries first, passages and counting at the lowest priority."""

import asyncio
import math
import time
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from deployments.embedder.settings import EmbedderConfig
from deployments.embedder.types import Vectors
from deployments.log import hide_expected_errors
from deployments.model_loader import MAX_LOAD_WAIT_S, LoadedModel, ModelLoader, ModelStatus, ReportProgress
from deployments.settings import WeightsConfig
from deployments.units import MEGABYTE
from deployments.worker_threads import LOWEST_PRIORITY, ThreadedDeployment, WorkerThreads

if TYPE_CHECKING:
    from deployments.embedder.embedder import Embedder


class EmbedderDeployment(ThreadedDeployment):
    """One MiniLM on the CPU.

    The model loads in the background after `__init__`, or at the first call if `lazy`, and then stays. `deadline` is in
    epoch seconds. Queries, passages and counting each have a thread of their own, so that none waits for the others;
    only that of the queries runs at normal priority. A call that is cancelled or late stops within one layer.
    """

    def __init__(self, embedder: EmbedderConfig, weights: WeightsConfig, *, lazy: bool) -> None:
        hide_expected_errors()
        self._queries = WorkerThreads("embedder queries", 1)
        self._num_threads = embedder.threads or 1
        self._passages = WorkerThreads("embedder passages", self._num_threads, niceness=LOWEST_PRIORITY)
        self._counts = WorkerThreads("embedder counts", 1, niceness=LOWEST_PRIORITY)
        self._loader: ModelLoader[Embedder] = ModelLoader(
            embedder.name, partial(_load, embedder, weights), lazy=lazy, is_miniature=embedder.is_miniature
        )

    async def embed_query(self, text: str, *, deadline: float) -> Vectors:
        """Return the vector of a query, shape (1, VECTOR_DIM), before any passages that are waiting."""
        embedder = await self._get(deadline)
        cached = embedder.cached_query(text)
        if cached is not None:
            return cached

        return await self._queries.run(lambda cancellation: embedder.embed_query(text, cancellation), deadline)

    async def embed_passages(self, texts: list[str], *, deadline: float) -> Vectors:
        """Return the vectors of passages, at low priority."""
        embedder = await self._get(deadline)
        size = max(1, math.ceil(len(texts) / self._num_threads))

        def embed(first: int) -> Awaitable[Vectors]:
            part = texts[first : first + size]
            return self._passages.run(lambda cancellation: embedder.embed_passages(part, cancellation), deadline)

        return np.concatenate(await asyncio.gather(*(embed(first) for first in range(0, max(1, len(texts)), size))))

    async def count_tokens(self, texts: list[str], *, deadline: float) -> list[int]:
        """Return the number of word pieces of each text, without the two special tokens, uncut."""
        embedder = await self._get(deadline)
        return await self._counts.run(lambda cancellation: embedder.count_tokens(texts, cancellation), deadline)

    async def status(self) -> ModelStatus:
        return self._loader.status()

    async def _get(self, deadline: float) -> "Embedder":
        return await self._loader.get(min(deadline, time.time() + MAX_LOAD_WAIT_S))

    def _all_threads(self) -> tuple[WorkerThreads, ...]:
        return self._queries, self._passages, self._counts


def _load(config: EmbedderConfig, weights: WeightsConfig, report: ReportProgress) -> "LoadedModel[Embedder]":
    import os

    # Read when tokenizers is loaded: tokenizing stays in the thread that calls it, at that thread's priority.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Imported here, because processes that only bind or call the deployment import this module too.
    from deployments.cancellation import Cancellation
    from deployments.embedder.embedder import load_embedder
    from deployments.embedder.weights import ensure_minilm
    from deployments.malloc import trim_freed_memory

    files = ensure_minilm(config, weights.cache_dir, report)
    report("warming up")
    embedder = load_embedder(files.folder, query_cache_bytes=int(config.query_cache_mb * MEGABYTE))
    embedder.embed_passages(["warm up"], Cancellation(float("inf")))
    trim_freed_memory()
    return LoadedModel(
        embedder,
        revision=files.revision,
        weight_bytes=embedder.weight_bytes,
        threads=config.threads or 1,
    )
