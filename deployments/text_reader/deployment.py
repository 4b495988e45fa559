"""The text reader as a Ray Serve deployment: one picture at a time, at the lowest priority."""

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from deployments.cancellation import Cancellation
from deployments.images import decoding_memory_bytes
from deployments.log import hide_expected_errors
from deployments.malloc import trim_freed_memory
from deployments.media import Media, Pixels
from deployments.model_loader import LoadedModel, ModelLoader, ModelStatus, ReportProgress
from deployments.sandbox import Sandbox
from deployments.text_reader.settings import TextReaderConfig
from deployments.text_reader.types import DecodedPicture, ReadImage
from deployments.worker_threads import LOWEST_PRIORITY, ThreadedDeployment, WorkerThreads, set_niceness

if TYPE_CHECKING:
    from deployments.text_reader.reader import TextReader

SANDBOX_MODULE = "deployments.text_reader.preprocessing"


class TextReaderDeployment(ThreadedDeployment):
    """PP-OCR on the CPU.

    The models load in the background after `__init__`, or at the first call if `lazy`; when nothing was read for a
    while, they leave memory until the next call. `deadline` is in epoch seconds. A call that is cancelled or late stops
    before the next step of a network. Image files are decoded in processes that are killed then.
    """

    def __init__(self, text_reader: TextReaderConfig, *, lazy: bool) -> None:
        hide_expected_errors()
        self._max_pixels = text_reader.max_image_pixels
        self._sandbox = Sandbox(SANDBOX_MODULE, decoding_memory_bytes(self._max_pixels))
        weakref.finalize(self, self._sandbox.close)
        self._idle_unload_s = text_reader.idle_unload_s
        self._unloading: asyncio.TimerHandle | None = None
        self._calls = 0
        # One thread: two pictures at once would take twice the memory and be no faster.
        self._threads = WorkerThreads("text_reader", 1, niceness=LOWEST_PRIORITY)
        # For people who wait, beside what is read in the background.
        self._decoding_threads = WorkerThreads("decoding", 1)
        self._loader: ModelLoader[TextReader] = ModelLoader(
            text_reader.name, partial(_load, text_reader), lazy=lazy, is_miniature=False
        )

    async def read_image(self, media: Media, *, deadline: float) -> ReadImage:
        """Return the text in an encoded picture; raises InvalidFile if it cannot be decoded."""

        def work(reader: "TextReader", cancellation: Cancellation) -> ReadImage:
            [picture] = self._sandbox.run("decode_for_reading", media, self._max_pixels, cancellation=cancellation)
            return replace(reader.read(picture.pixels, cancellation), width=picture.width, height=picture.height)

        return await self._run(work, deadline)

    async def read_pixels(self, pixels: Pixels, *, deadline: float) -> ReadImage:
        """Return the text in a rendered page or a video frame."""
        return await self._run(lambda reader, cancellation: reader.read(pixels, cancellation), deadline)

    async def decode(self, media: Media, max_side_px: int, *, deadline: float) -> Pixels:
        """Return an encoded picture as it is displayed; raises InvalidFile if it cannot be decoded."""

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

    async def _run(self, work: Callable[["TextReader", Cancellation], ReadImage], deadline: float) -> ReadImage:
        self._calls += 1
        try:
            reader = await self._loader.get(deadline)
            return await self._threads.run(lambda cancellation: work(reader, cancellation), deadline)
        finally:
            self._calls -= 1
            self._unload_when_idle()

    def _unload_when_idle(self) -> None:
        if self._unloading is not None:
            self._unloading.cancel()
        self._unloading = asyncio.get_running_loop().call_later(self._idle_unload_s, self._unload)

    def _unload(self) -> None:
        if self._calls == 0:
            self._loader.unload()
            trim_freed_memory()


def _load(config: TextReaderConfig, report: ReportProgress) -> "LoadedModel[TextReader]":
    import os

    # The threads that onnxruntime starts take over this thread's priority.
    set_niceness(LOWEST_PRIORITY)
    # OpenCV's OpenBLAS would start a thread for each core when it is loaded.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Imported here, because onnxruntime and OpenCV take a second, and processes that only bind or call the deployment
    # import this module too.
    import cv2
    import psutil

    from deployments.malloc import reuse_freed_memory
    from deployments.text_reader.models import OcrModels
    from deployments.text_reader.reader import TextReader
    from deployments.text_reader.weights import model_files

    report("checking the models")
    paths = model_files()
    num_threads = config.threads or max(1, (psutil.cpu_count(logical=False) or 1) // 2)
    cv2.setNumThreads(1)
    report("warming up")
    reader = TextReader(OcrModels(paths, num_threads))
    reuse_freed_memory()
    return LoadedModel(
        reader,
        revision=None,
        weight_bytes=sum(path.stat().st_size for path in paths.values()),
        threads=num_threads,
    )
