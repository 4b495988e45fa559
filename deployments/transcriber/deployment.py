"""The transcriber as a Ray Serve deployment: runs the engine in threads and keeps its model."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from deployments.cancellation import Cancellation
from deployments.log import hide_expected_errors
from deployments.malloc import return_freed_memory, reuse_freed_memory, trim_freed_memory
from deployments.media import Media
from deployments.model_loader import LoadedModel, ModelLoader, ModelStatus, ReportProgress
from deployments.settings import WeightsConfig
from deployments.transcriber.audio import decode_audio
from deployments.transcriber.settings import TranscriberConfig
from deployments.transcriber.types import TranscribeTask, Transcript
from deployments.worker_threads import WorkerThreads

if TYPE_CHECKING:
    from deployments.transcriber.engine import WhisperEngine


class TranscriberDeployment:
    """One Whisper model on the CPU.

    The model loads in the background after `__init__`, or, when lazy, at the first call (see ModelLoader). `deadline`
    is in epoch seconds. Work that is cancelled or late stops after at most one layer of the model; until then it
    occupies its thread.
    """

    def __init__(self, config: TranscriberConfig, weights: WeightsConfig, *, lazy: bool) -> None:
        hide_expected_errors()
        self._max_duration_s = config.max_duration_s
        self._threads = WorkerThreads("transcriber")
        self._loader: ModelLoader[WhisperEngine] = ModelLoader(
            config.name, partial(_load, config, weights), lazy=lazy, is_miniature=config.is_miniature
        )

    async def transcribe(self, media: Media, task: TranscribeTask, *, deadline: float) -> Transcript:
        """Return what is said in an audio file or on a video's audio track; raises InvalidFile if there is none."""
        engine = await self._loader.get(deadline)

        def work(cancellation: Cancellation) -> Transcript:
            try:
                audio = decode_audio(media, cancellation, self._max_duration_s)
                return replace(engine.transcribe(audio.waveform, task, cancellation), warnings=audio.warnings)
            finally:
                trim_freed_memory()

        return await self._threads.run(work, deadline)

    async def status(self) -> ModelStatus:
        return self._loader.status()


def _load(config: TranscriberConfig, weights: WeightsConfig, report: ReportProgress) -> "LoadedModel[WhisperEngine]":
    # Imported here, because torch takes seconds and hundreds of megabytes, and processes that only refer to the class
    # import this module too.
    import psutil
    import torch

    from deployments.transcriber.engine import load_engine
    from deployments.transcriber.weights import ensure_whisper

    file = ensure_whisper(config, weights.cache_dir, report)
    # Ray sets OMP_NUM_THREADS=1 for replicas with fewer than two CPUs. Two calls may run at once, each with this many
    # threads, so each gets half the cores. Physical ones: hyper-threads share the arithmetic units of their core.
    torch.set_num_threads(config.threads or max(1, (psutil.cpu_count(logical=False) or 1) // 2))
    return_freed_memory()
    report("warming up")
    engine = load_engine(file.path, config.precision, kernel=config.kernel, speech_detection=config.speech_detection)
    trim_freed_memory()
    reuse_freed_memory()
    return LoadedModel(
        engine, revision=file.revision, weight_bytes=engine.weight_bytes, threads=torch.get_num_threads()
    )
