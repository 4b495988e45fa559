"""The transcriber as a Ray Serve deployment: places the work, does none of it."""

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

    Loads in the background after `__init__` (or at the first call, when lazy); until then calls raise ModelNotLoaded
    with the progress. `deadline` is in epoch seconds; a call that is cancelled or late stops within one layer of the
    model, and its thread is free only then.
    """

    def __init__(self, config: TranscriberConfig, weights: WeightsConfig, *, lazy: bool) -> None:
        hide_expected_errors()
        self._max_duration_s = config.max_duration_s
        self._threads = WorkerThreads("transcriber")
        self._loader: ModelLoader[WhisperEngine] = ModelLoader(
            config.name, partial(_load, config, weights), lazy=lazy, is_miniature=config.is_miniature
        )

    async def transcribe(self, media: Media, task: TranscribeTask, *, deadline: float) -> Transcript:
        """Return what is said in a sound file or on a video's audio track; raises InvalidFile if there is none."""
        engine = await self._loader.get(deadline)

        def work(cancellation: Cancellation) -> Transcript:
            try:
                recording = decode_audio(media, cancellation, self._max_duration_s)
                return replace(engine.transcribe(recording.waveform, task, cancellation), warnings=recording.warnings)
            finally:
                trim_freed_memory()

        return await self._threads.run(work, deadline)

    async def status(self) -> ModelStatus:
        return self._loader.status()


def _load(config: TranscriberConfig, weights: WeightsConfig, report: ReportProgress) -> "LoadedModel[WhisperEngine]":
    # Imported here: torch takes seconds and hundreds of megabytes, and Ray also imports this module where only the
    # class is named.
    import psutil
    import torch

    from deployments.transcriber.engine import load_engine
    from deployments.transcriber.weights import ensure_whisper

    file = ensure_whisper(config, weights.cache_dir, report)
    # Ray sets OMP_NUM_THREADS=1 for replicas that ask for less than two CPUs. Half the cores, as two calls may run at
    # once, each with this many threads. Hyper-threads share their core's arithmetic units, so physical cores count.
    torch.set_num_threads(config.threads or max(1, (psutil.cpu_count(logical=False) or 1) // 2))
    return_freed_memory()
    report("warming up")
    engine = load_engine(
        file.path,
        config.precision,
        official_size=config.model if config.is_official else None,
        kernel=config.kernel,
        speech_detection=config.speech_detection,
    )
    trim_freed_memory()
    reuse_freed_memory()
    return LoadedModel(
        engine, revision=file.revision, weight_bytes=engine.weight_bytes, threads=torch.get_num_threads()
    )
