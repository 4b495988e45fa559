"""The text reader as a Ray Serve deployment: one picture at a time, at the lowest priority."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from deployments.cancellation import Cancellation
from deployments.images import decoding_memory_bytes
from deployments.log import hide_expected_errors
from deployments.media import Media, Pixels
from deployments.model_loader import IdleUnloader, LoadedModel, ModelLoader, ModelStatus, ReportProgress
from deployments.model_process import ModelProcess
from deployments.sandbox import Sandbox
from deployments.text_reader.settings import TextReaderConfig
from deployments.text_reader.types import DecodedPicture, ReaderFacts, ReadImage
from deployments.worker_threads import LOWEST_PRIORITY, ThreadedDeployment, WorkerThreads

SANDBOX_MODULE = "deployments.text_reader.preprocessing"
PROCESS_MODULE = "deployments.text_reader.process"


class TextReaderDeployment(ThreadedDeployment):
    """PP-OCR on the CPU.

    The models load in the background after `__init__`, or at the first call if `lazy`, in a process of their own, which
    ends when nothing was read for `idle_unload_s`; the next call starts it again. `deadline` is in epoch seconds. A
    call that is cancelled or late stops before the next step of a network; the process that decodes its image is
    killed.
    """

    def __init__(self, text_reader: TextReaderConfig, *, lazy: bool) -> None:
        hide_expected_errors()
        self._max_pixels = text_reader.max_image_pixels
        self._sandbox = Sandbox(
            SANDBOX_MODULE, decoding_memory_bytes(self._max_pixels), max_idle_s=text_reader.idle_unload_s
        )
        weakref.finalize(self, self._sandbox.close)
        # One thread: two pictures at once would take twice the memory and be no faster.
        self._threads = WorkerThreads("text_reader", 1, niceness=LOWEST_PRIORITY)
        # At normal priority: `decode` is for a page that somebody waits for.
        self._decoding_threads = WorkerThreads("decoding", 1)
        self._loader: ModelLoader[ModelProcess] = ModelLoader(
            text_reader.name, partial(_load, text_reader), lazy=lazy, is_miniature=False
        )
        self._idle_unloader = IdleUnloader(self._loader, text_reader.idle_unload_s, lambda process: process.close())

    async def read_image(self, media: Media, *, deadline: float) -> ReadImage:
        """Return the text in an image file; raises InvalidFile if it cannot be decoded."""

        def work(process: ModelProcess, cancellation: Cancellation) -> ReadImage:
            [picture] = self._sandbox.run("decode_for_reading", media, self._max_pixels, cancellation=cancellation)
            read: ReadImage = process.call(picture.pixels, cancellation=cancellation)
            return replace(read, width=picture.width, height=picture.height)

        return await self._run(work, deadline)

    async def read_pixels(self, pixels: Pixels, *, deadline: float) -> ReadImage:
        """Return the text in a rendered page or a video frame."""

        def work(process: ModelProcess, cancellation: Cancellation) -> ReadImage:
            read: ReadImage = process.call(pixels, cancellation=cancellation)
            return read

        return await self._run(work, deadline)

    async def decode(self, media: Media, max_side_px: int, *, deadline: float) -> Pixels:
        """Return an image file's pixels as it is displayed, no side longer than `max_side_px`; raises InvalidFile if it
        cannot be decoded."""

        def work(cancellation: Cancellation) -> Pixels:
            picture: DecodedPicture
            [picture] = self._sandbox.run(
                "decode_for_display", media, self._max_pixels, max_side_px, cancellation=cancellation
            )
            return picture.pixels

        return await self._decoding_threads.run(work, deadline)

    async def status(self) -> ModelStatus:
        return self._loader.status()

    def _all_threads(self) -> tuple[WorkerThreads, ...]:
        return self._threads, self._decoding_threads

    async def _run(self, work: Callable[[ModelProcess, Cancellation], ReadImage], deadline: float) -> ReadImage:
        with self._idle_unloader.call():
            process = await self._loader.get(deadline)
            if process.has_ended:
                self._loader.unload()
                process = await self._loader.get(deadline)
            return await self._threads.run(lambda cancellation: work(process, cancellation), deadline)


def _load(config: TextReaderConfig, report: ReportProgress) -> LoadedModel[ModelProcess]:
    process = ModelProcess(PROCESS_MODULE, config.model_dump(), report, niceness=LOWEST_PRIORITY)
    facts: ReaderFacts = process.facts
    return LoadedModel(process, revision=None, weight_bytes=facts.weight_bytes, threads=facts.threads)
