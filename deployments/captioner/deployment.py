"""The captioner as a Ray Serve deployment: a thin layer that runs Captioner in worker threads."""

import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from deployments.cancellation import Cancellation
from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.types import Caption, CaptionProgress, CaptionTask, FrameFailure, ImageCaption
from deployments.commands import FETCH_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.images import decoding_memory_bytes
from deployments.log import hide_expected_errors
from deployments.media import Media, Pixels
from deployments.model_loader import LoadedModel, ModelLoader, ModelStatus, ReportProgress
from deployments.sandbox import Sandbox
from deployments.settings import LimitsConfig, WeightsConfig
from deployments.worker_threads import ThreadedDeployment, WorkerThreads

if TYPE_CHECKING:
    from deployments.captioner.captioner import Captioner


class CaptionerDeployment(ThreadedDeployment):
    """One Moondream model on the CPU.

    The model loads in the background after `__init__`, or at the first call if `lazy`. Until it is loaded, calls raise
    ModelNotLoaded with the progress. `deadline` is in epoch seconds. A call that is cancelled or late stops within one
    layer or decode step, and occupies its thread until then. Images are decoded in processes that are killed then.
    """

    def __init__(self, captioner: CaptionerConfig, weights: WeightsConfig, limits: LimitsConfig, *, lazy: bool) -> None:
        hide_expected_errors()
        self._threads = WorkerThreads("captioner")
        sandbox = Sandbox("deployments.captioner.preprocessing", decoding_memory_bytes(limits.max_image_pixels))
        weakref.finalize(self, sandbox.close)
        self._loader: ModelLoader[Captioner] = ModelLoader(
            captioner.name,
            partial(_load, captioner, weights, limits, sandbox),
            lazy=lazy,
            is_miniature=captioner.is_miniature,
        )

    async def caption_image(self, media: Media, task: CaptionTask, *, deadline: float) -> ImageCaption:
        captioner = await self._loader.get(deadline)
        return await self._threads.run(
            lambda cancellation: captioner.caption_image(media, task, cancellation), deadline
        )

    async def stream_image_caption(
        self, media: Media, task: CaptionTask, *, deadline: float
    ) -> AsyncGenerator[CaptionProgress | ImageCaption, None]:
        """Yield the progress of `caption_image`, and at last what it returns."""
        captioner = await self._loader.get(deadline)

        def work(cancellation: Cancellation, send: Callable[[CaptionProgress | ImageCaption], None]) -> None:
            send(captioner.caption_image(media, task, cancellation, send))

        async with aclosing(self._threads.stream(work, deadline)) as items:
            async for item in items:
                yield item

    async def caption_frames(
        self, frames: list[Pixels], task: CaptionTask, *, deadline: float
    ) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame, in order. A frame that fails does not affect the others."""
        captioner = await self._loader.get(deadline)
        return await self._threads.run(
            lambda cancellation: captioner.caption_frames(frames, task, cancellation), deadline
        )

    async def summarize(self, descriptions: list[str], max_new_tokens: int, *, deadline: float) -> Caption:
        captioner = await self._loader.get(deadline)
        return await self._threads.run(
            lambda cancellation: captioner.summarize(descriptions, max_new_tokens, cancellation), deadline
        )

    async def status(self) -> ModelStatus:
        return self._loader.status()


def _load(
    config: CaptionerConfig, weights: WeightsConfig, limits: LimitsConfig, sandbox: Sandbox, report: ReportProgress
) -> "LoadedModel[Captioner]":
    # Imported here, because torch takes seconds and hundreds of megabytes, and processes that only bind or call the
    # deployment import this module too.
    import os

    import psutil
    import torch

    # Nothing here uses the hub. If a library tries to, it must fail instead of making network requests.
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")

    from deployments.captioner.captioner import Captioner
    from deployments.captioner.loading import load_int8, load_moondream, load_or_quantize
    from deployments.captioner.prompts import read_tokenizer
    from deployments.captioner.weights import QUANTIZED_FILE, ensure_moondream
    from deployments.inference.int8_layers import weight_bytes
    from deployments.malloc import return_freed_memory, reuse_freed_memory

    files = ensure_moondream(config, weights.cache_dir, report)
    # Ray sets OMP_NUM_THREADS=1 for replicas that request fewer than two CPUs, which would leave all other cores idle.
    # Hyper-threads share the arithmetic units of their core, so the default is the number of physical cores.
    torch.set_num_threads(config.threads or psutil.cpu_count(logical=False) or 1)
    return_freed_memory()
    if files.is_only_quantized:
        if config.precision != "int8":
            raise ModelNotLoaded(
                f"Only the int8 weights of {files.name} are available, so captioner.precision cannot be "
                f"{config.precision}. Set it to int8, or delete {files.weights[0].parent} and download the model again "
                f"with `{FETCH_COMMAND}`."
            )
        model = load_int8(files.config, files.weights[0], report, config.kernel)
    elif config.precision == "int8" and config.keep_int8 and config.is_official:
        int8_copy = files.weights[0].parent / QUANTIZED_FILE
        model = load_or_quantize(files.config, files.weights, int8_copy, report, config.kernel)
    else:
        model = load_moondream(files.config, files.weights, config.precision, report, kernel=config.kernel)
    reuse_freed_memory()
    captioner = Captioner(
        model,
        read_tokenizer(files.tokenizer, model.config),
        config,
        max_image_pixels=limits.max_image_pixels,
        sandbox=sandbox,
    )
    report("warming up")
    captioner.warm_up()
    return LoadedModel(
        captioner,
        revision=files.revision,
        weight_bytes=weight_bytes(model),
        threads=torch.get_num_threads(),
    )
