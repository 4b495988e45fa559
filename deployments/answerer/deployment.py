"""The answerer as a Ray Serve deployment: one answer of the language model at a time, at low priority."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from deployments.answerer.answering import NO_MODEL, NO_TIME, AnswerLimits, answer
from deployments.answerer.settings import AnswererConfig
from deployments.answerer.types import AnswerEnd, AnswerPart
from deployments.cancellation import Cancellation
from deployments.errors import ModelNotLoaded
from deployments.library.types import SearchHit
from deployments.log import hide_expected_errors
from deployments.malloc import trim_freed_memory
from deployments.model_loader import (
    MAX_LOAD_WAIT_S,
    IdleUnloader,
    LoadedModel,
    ModelLoader,
    ModelStatus,
    ReportProgress,
)
from deployments.settings import WeightsConfig
from deployments.worker_threads import ThreadedDeployment, WorkerThreads, set_niceness

if TYPE_CHECKING:
    from deployments.answerer.llama import LlamaModel
    from deployments.answerer.openai_server import OpenAIServerModel

    Model = LlamaModel | OpenAIServerModel

NICENESS = 10
"""Of the model's threads: after the work on other requests and the event loops, before background work."""
MIN_PROMPT_TOKENS = 300
"""A question that has waited for others gets an extractive answer if there is no time left to read so many."""
EXTRACTIVE_S = 1.0
"""Seconds before the deadline that are kept for an extractive answer, in case the model runs out of time."""
TEMPLATE_TOKENS = 1280
"""Of the context besides passages and answer: a question of 1000 characters, the instructions, the chat template."""


class AnswererDeployment(ThreadedDeployment):
    """Answers with a language model of llama.cpp, with a server on this machine, or without a model.

    The model loads at the first question, and leaves memory when nothing was asked for `idle_unload_s`. `deadline` is
    in epoch seconds. A caller that leaves stops the model within a token.
    """

    def __init__(self, answerer: AnswererConfig, weights: WeightsConfig, *, lazy: bool) -> None:
        hide_expected_errors()
        self._config = answerer
        self._cache_dir = weights.cache_dir
        self._turn = asyncio.Semaphore(1)
        self._model_threads = WorkerThreads("answerer", 1, niceness=NICENESS)
        self._extractive_threads = WorkerThreads("answerer extractive")
        self._loader: ModelLoader[Model] | None = None
        self._idle_unloader: IdleUnloader[Model] | None = None
        if answerer.has_model:
            self._loader = ModelLoader(
                answerer.name,
                partial(_load, answerer, weights),
                lazy=lazy,
                is_miniature=answerer.is_miniature,
            )
            self._idle_unloader = IdleUnloader(self._loader, answerer.idle_unload_s, _free)

    async def answer(
        self, question: str, hits: Sequence[SearchHit], *, deadline: float
    ) -> AsyncGenerator[AnswerPart, None]:
        """Yield the sentences of an answer from the hits (the best first), each as soon as it is checked, then its end.

        Without a language model, or when there is no time for it before the deadline, the answer is extractive: the
        sentences of the passages that answer best, quoted. Raises ServiceErrors if the model fails.
        """
        with nullcontext() if self._idle_unloader is None else self._idle_unloader.call():
            model, note = await self._model_or_reason(hits, deadline)
            if model is not None and not await self._is_its_turn(deadline - _needed_s(model)):
                model, note = None, NO_TIME
            if model is None:
                async with aclosing(self._run(self._extractive_threads, question, hits, None, deadline)) as parts:
                    async for part in parts:
                        yield _with_note(part, note)
                return
            try:
                async with aclosing(self._run(self._model_threads, question, hits, model, deadline)) as parts:
                    async for part in parts:
                        yield part
            finally:
                self._turn.release()

    async def status(self) -> ModelStatus:
        if self._loader is None:
            return ModelStatus(self._config.name, "loaded", detail=NO_MODEL)
        return self._loader.status()

    async def _model_or_reason(self, hits: Sequence[SearchHit], deadline: float) -> "tuple[Model | None, str]":
        """Return the model, or None and why there is none."""
        if self._loader is None:
            return None, NO_MODEL
        if not hits:
            return None, ""
        from deployments.answerer.weights import is_on_disk  # here, because it imports what fetches files

        # A download takes longer than anybody waits.
        wait_s = MAX_LOAD_WAIT_S if is_on_disk(self._config, self._cache_dir) else 0.0
        try:
            return await self._loader.get(min(deadline - EXTRACTIVE_S, time.time() + wait_s)), ""
        except ModelNotLoaded as error:
            return None, f"{error} Until then answers quote the passages."

    async def _is_its_turn(self, latest: float) -> bool:
        """Wait for the questions before; returns False if that takes until `latest` (epoch seconds). After True, the
        caller must release `_turn`."""
        try:
            async with asyncio.timeout(latest - time.time()):
                await asyncio.sleep(0)  # a `latest` in the past is noticed here: `acquire` may not wait at all
                await self._turn.acquire()
                return True
        except TimeoutError:
            return False

    async def _run(
        self,
        threads: WorkerThreads,
        question: str,
        hits: Sequence[SearchHit],
        model: "Model | None",
        deadline: float,
    ) -> AsyncGenerator[AnswerPart, None]:
        """Yield the parts of an answer that is made in a thread; closing this cancels it."""
        limits = _limits(self._config)

        def work(cancellation: Cancellation, send: Callable[[AnswerPart], None]) -> None:
            for part in answer(question, hits, model, limits, cancellation):
                send(part)

        async with aclosing(threads.stream(work, deadline if model is None else deadline - EXTRACTIVE_S)) as parts:
            async for part in parts:
                yield part

    def __del__(self) -> None:
        """Close the model: Serve calls this when it ends the replica, and then kills the process."""
        loader = self.__dict__.get("_loader")  # __init__ may have failed
        model = None if loader is None else loader.unload()
        if model is not None:
            model.close()

    def _all_threads(self) -> Sequence[WorkerThreads]:
        return self._model_threads, self._extractive_threads


def _free(model: "Model") -> None:
    model.close()
    trim_freed_memory()


def _needed_s(model: "Model") -> float:
    """Return how many seconds an answer of the model takes at least."""
    return MIN_PROMPT_TOKENS / model.prompt_tokens_per_s + EXTRACTIVE_S


def _with_note(part: AnswerPart, note: str) -> AnswerPart:
    """Return the part; the end of an answer gets the note, which says why it is without a model."""
    return replace(part, note=note) if isinstance(part, AnswerEnd) and not part.no_answer else part


def _limits(config: AnswererConfig) -> AnswerLimits:
    if config.prompt_tokens:
        return AnswerLimits(
            max_passage_tokens=config.prompt_tokens, max_prompt_s=float("inf"), max_answer_tokens=config.max_tokens
        )
    return AnswerLimits(max_answer_tokens=config.max_tokens)


def _load(config: AnswererConfig, weights: WeightsConfig, report: ReportProgress) -> "LoadedModel[Model]":
    # llama.cpp's threads take over this thread's priority.
    set_niceness(NICENESS)
    if config.server_url:
        from deployments.answerer.openai_server import OpenAIServerModel

        report(f"connecting to {config.server_url}")
        server = OpenAIServerModel(config.server_url, config.server_model)
        return LoadedModel(server, revision=None, weight_bytes=0, threads=0)
    # Imported here, because processes that only bind or call the deployment import this module too.
    import psutil

    from deployments.answerer.openmp import load_openmp

    load_openmp()
    from deployments.answerer.llama import LlamaModel
    from deployments.answerer.weights import MEMORY_BESIDE_WEIGHTS, ensure_gguf
    from deployments.weights.download import format_bytes

    file = ensure_gguf(config, weights.cache_dir, report)
    size = file.path.stat().st_size
    needed, available = size + MEMORY_BESIDE_WEIGHTS, psutil.virtual_memory().available
    if available < needed:  # the machine would have to swap
        raise ModelNotLoaded(
            f"{file.name} needs {format_bytes(needed)} of memory, and {format_bytes(available)} are free. Close other "
            "programs, or choose a smaller answerer.model."
        )
    threads = config.threads or max(1, (psutil.cpu_count(logical=False) or 1) - 1)
    limits = _limits(config)
    context_tokens = limits.max_passage_tokens + TEMPLATE_TOKENS + limits.max_answer_tokens
    report("reading weights")
    model = LlamaModel(file.path, file.name, threads=threads, context_tokens=-(-context_tokens // 256) * 256)
    return LoadedModel(model, revision=file.revision, weight_bytes=size, threads=threads)
