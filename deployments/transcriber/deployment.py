"""The transcriber as a Ray Serve deployment: runs the engine in threads and keeps its model."""

import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from deployments.cancellation import Cancellation
from deployments.log import hide_expected_errors
from deployments.malloc import return_freed_memory, reuse_freed_memory, trim_freed_memory
from deployments.media import Media
from deployments.model_loader import LoadedModel, ModelLoader, ModelStatus, ReportProgress
from deployments.sandbox import Sandbox
from deployments.settings import WeightsConfig
from deployments.transcriber.audio_files import DecodedAudio, decode_audio
from deployments.transcriber.settings import TranscriberConfig
from deployments.transcriber.speakers.loading import get_labeler, speakers_loader
from deployments.transcriber.speakers.settings import SpeakersConfig
from deployments.transcriber.types import TranscribeTask, Transcript, TranscriptProgress, TranscriptSegment
from deployments.worker_threads import ThreadedDeployment, WorkerThreads

if TYPE_CHECKING:
    from deployments.transcriber.engine import WhisperEngine
    from deployments.transcriber.speakers.labeler import SpeakerLabeler


DECODER_MEMORY_BYTES = 1024 * 2**20
"""What decoding one file may take, without the file and the waveform."""
DECODER_SILENCE_S = 20.0
"""A decoder that neither reads nor reports progress for so long is at work on a file that is made for that."""


class TranscriberDeployment(ThreadedDeployment):
    """One Whisper model on the CPU. Files are decoded in processes of their own.

    The model loads in the background after `__init__`, or, when lazy, at the first call (see ModelLoader); the one that
    tells speakers apart, at the first call that asks for it. `deadline` is in epoch seconds. Work that is cancelled or
    late stops after at most one layer of the model; until then it occupies its thread.
    """

    def __init__(
        self, transcriber: TranscriberConfig, speakers: SpeakersConfig, weights: WeightsConfig, *, lazy: bool
    ) -> None:
        self._sandbox = Sandbox(
            "deployments.transcriber.audio_files", DECODER_MEMORY_BYTES, max_silence_s=DECODER_SILENCE_S
        )
        weakref.finalize(self, self._sandbox.close)
        hide_expected_errors()
        self._max_duration_s = transcriber.max_duration_s
        self._threads = WorkerThreads("transcriber")
        self._loader: ModelLoader[WhisperEngine] = ModelLoader(
            transcriber.name, partial(_load, transcriber, weights), lazy=lazy, is_miniature=transcriber.is_miniature
        )
        self._speakers = speakers_loader(speakers, weights)

    async def transcribe(self, media: Media, task: TranscribeTask, *, deadline: float) -> Transcript:
        """Return what is said in an audio file or on a video's audio track; raises InvalidFile if there is none.

        All times are on the file's presentation clock, and so is the duration: it is when the sound ends.
        """
        engine, labeler = await self._models(task, deadline)
        return await self._threads.run(
            lambda cancellation: self._transcribe(engine, labeler, media, task, cancellation, None), deadline
        )

    async def stream_transcript(
        self, media: Media, task: TranscribeTask, *, deadline: float
    ) -> AsyncGenerator[TranscriptProgress | Transcript, None]:
        """Yield the progress of `transcribe`, and at last what it returns."""
        engine, labeler = await self._models(task, deadline)

        def work(cancellation: Cancellation, send: Callable[[TranscriptProgress | Transcript], None]) -> None:
            send(self._transcribe(engine, labeler, media, task, cancellation, send))

        async with aclosing(self._threads.stream(work, deadline)) as items:
            async for item in items:
                yield item

    async def _models(self, task: TranscribeTask, deadline: float) -> "tuple[WhisperEngine, SpeakerLabeler | None]":
        engine = await self._loader.get(deadline)
        return engine, await get_labeler(self._speakers, deadline) if task.speakers else None

    def _transcribe(
        self,
        engine: "WhisperEngine",
        labeler: "SpeakerLabeler | None",
        media: Media,
        task: TranscribeTask,
        cancellation: Cancellation,
        send: Callable[[TranscriptProgress], None] | None,
    ) -> Transcript:
        """Return what `transcribe` does; `send` gets the progress, and the segments unless speakers are to be told
        apart, which splits them."""
        try:
            if send is not None:
                send(TranscriptProgress("decode", None))
            audio = decode_audio(media, cancellation, self._max_duration_s, self._sandbox, task.track)
            on_segments = None
            if send is not None:
                send(TranscriptProgress("transcribe", 0.0, audio.end_s))
                on_segments = partial(_send_segments, send, audio, with_segments=labeler is None)
            transcript = engine.transcribe(audio.waveform, task, cancellation, on_segments)
            if labeler is not None:
                if send is not None:
                    send(TranscriptProgress("speakers", None, audio.end_s))
                transcript = labeler.label(transcript, audio.waveform, task.num_speakers, cancellation)
            return replace(
                transcript.later(audio.start_s), warnings=audio.warnings, tracks=audio.tracks, track=audio.track
            )
        finally:
            trim_freed_memory()

    async def status(self) -> ModelStatus:
        return replace(self._loader.status(), others=(self._speakers.status(),))


def _send_segments(
    send: Callable[[TranscriptProgress], None],
    audio: DecodedAudio,
    done_s: float,
    first: int,
    segments: list[TranscriptSegment],
    *,
    with_segments: bool,
) -> None:
    fraction = min(1.0, done_s / max(audio.end_s - audio.start_s, 1e-3))
    final = [segment.later(audio.start_s) for segment in segments] if with_segments else []
    send(TranscriptProgress("transcribe", fraction, audio.end_s, first, final))


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
    engine = load_engine(
        file.path,
        config.precision,
        kernel=config.kernel,
        speech_detection=config.speech_detection,
        beam_size=config.beam_size,
    )
    trim_freed_memory()
    reuse_freed_memory()
    return LoadedModel(
        engine, revision=file.revision, weight_bytes=engine.weight_bytes, threads=torch.get_num_threads()
    )
