"""Fakes of the graph's services: they record their calls and return what the test sets."""

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from deployments.answerer.answering import AnswerLimits, answer
from deployments.answerer.types import AnswerPart
from deployments.cancellation import Cancellation
from deployments.captioner.types import Caption, CaptionProgress, CaptionTask, FrameFailure, ImageCaption
from deployments.errors import DeadlineExceeded
from deployments.frame_sampler.types import SampledFrame, SampledVideo, SampleTask, VideoProperties
from deployments.library.types import SearchHit
from deployments.media import Media, Pixels, as_media
from deployments.model_loader import ModelStatus
from deployments.transcriber.types import (
    TranscribeTask,
    Transcript,
    TranscriptProgress,
    TranscriptSegment,
    TranscriptWord,
)
from serve_app.context import AppContext
from serve_app.graph import (
    ANSWERER,
    CAPTIONER,
    DOCUMENT_PARSER,
    EMBEDDER,
    FRAME_SAMPLER,
    INDEXING,
    LIBRARY,
    TEXT_READER,
    TRANSCRIBER,
)
from serve_app.settings import AppConfig
from serve_app.speeds import Speeds
from serve_app.system import DeploymentStatus


@dataclass(frozen=True)
class _SharedMedia:
    """As opaque as Ray's reference: only a service may look inside."""

    content: bytes
    shape: tuple[int, ...]

    def opened(self) -> Media:
        return as_media(self.content).reshape(self.shape)


def _content_of(media: Any) -> bytes:
    assert isinstance(media, _SharedMedia)
    return media.content


class OpensSharedMedia:
    """A real service whose arguments are opened, as Ray opens references on their way."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            opened = [value.opened() if isinstance(value, _SharedMedia) else value for value in arguments]
            return getattr(self._service, method)(*opened, **keywords)

        return call


@dataclass
class Fake:
    """Base of a service: each call takes `seconds`, unless the deadline ends it, and raises `error` if there is one."""

    seconds: float = 0.0
    error: BaseException | None = None
    calls: list[Any] = field(default_factory=list)
    num_running: int = 0
    peak_running: int = 0
    num_cancelled: int = 0

    async def work(self, call: Any, deadline: float, progress: str = "") -> None:
        self.calls.append(call)
        self.num_running += 1
        self.peak_running = max(self.peak_running, self.num_running)
        try:
            if self.error is not None:
                raise self.error
            left_s = deadline - time.time()
            await asyncio.sleep(min(self.seconds, max(left_s, 0)))
            if self.seconds >= left_s:
                raise DeadlineExceeded(progress)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self.num_running -= 1


@dataclass
class FakeCaptioner(Fake):
    describe: Callable[[int], Caption | FrameFailure] = lambda number: Caption(f"frame {number}", "stop")
    summary_error: BaseException | None = None
    progress: Sequence[CaptionProgress] = (
        CaptionProgress(0.0),
        CaptionProgress(0.5),
        CaptionProgress(1.0, "a"),
        CaptionProgress(1.0, "a pic"),
    )

    async def caption_image(self, media: Media, task: CaptionTask, *, deadline: float) -> ImageCaption:
        await self.work((_content_of(media), task), deadline, "wrote 7 of 200 tokens")
        return ImageCaption(Caption("a picture", "stop", num_tokens=2), 640, 480, 733)

    async def stream_image_caption(
        self, media: Media, task: CaptionTask, *, deadline: float
    ) -> AsyncGenerator[CaptionProgress | ImageCaption, None]:
        for item in self.progress:
            yield item
        yield await self.caption_image(media, task, deadline=deadline)

    async def caption_frames(
        self, frames: list[Pixels], task: CaptionTask, *, deadline: float
    ) -> list[Caption | FrameFailure]:
        await self.work(([int(frame[0, 0, 0]) for frame in frames], task), deadline)
        return [self.describe(int(frame[0, 0, 0])) for frame in frames]

    async def summarize(self, descriptions: list[str], max_new_tokens: int, *, deadline: float) -> Caption:
        if self.summary_error is not None:
            raise self.summary_error
        return Caption(f"summary of {', '.join(descriptions)}", "stop")


@dataclass
class FakeTranscriber(Fake):
    transcript: Transcript = Transcript(
        "Hello there.",
        "en",
        0.91239,
        [TranscriptSegment(0.0, 1.5, "Hello there.", 0.95, [TranscriptWord("Hello", 0.0, 0.7, 0.9)], language="en")],
        2.0,
    )
    progress: Sequence[TranscriptProgress] = (
        TranscriptProgress("decode", None),
        TranscriptProgress("transcribe", 0.0, 2.0),
    )

    async def transcribe(self, media: Media, task: TranscribeTask, *, deadline: float) -> Transcript:
        await self.work((_content_of(media), task), deadline, "transcribed 10.0 of 45.2 s")
        return self.transcript

    async def stream_transcript(
        self, media: Media, task: TranscribeTask, *, deadline: float
    ) -> AsyncGenerator[TranscriptProgress | Transcript, None]:
        for item in self.progress:
            yield item
        yield await self.transcribe(media, task, deadline=deadline)


@dataclass
class FakeFrameSampler(Fake):
    has_audio: bool = True
    cuts_s: Sequence[float] = ()

    async def sample(self, media: Media, task: SampleTask, *, deadline: float) -> SampledVideo:
        await self.work((_content_of(media), task), deadline, "decoded 3.0 of 30.5 s")
        frames = [
            SampledFrame(number * 183, number * 6.1, np.full((2, 2, 3), number, np.uint8))
            for number in range(task.num_frames)
        ]
        return SampledVideo(VideoProperties(30.5, 30.0, 1920, 1080, 915), frames, self.has_audio, list(self.cuts_s))


@dataclass
class FakeAnswerer:
    """Yields `parts`, or without any an extractive answer; then raises `error` if there is one."""

    parts: list[AnswerPart] | None = None
    error: Exception | None = None
    pause_s: float = 0.0
    """Before each part."""
    deadlines: list[float] = field(default_factory=list)
    num_hits: list[int] = field(default_factory=list)
    num_cancelled: int = 0

    async def answer(
        self, question: str, hits: Sequence[SearchHit], *, deadline: float
    ) -> AsyncGenerator[AnswerPart, None]:
        self.deadlines.append(deadline)
        self.num_hits.append(len(hits))
        try:
            parts = self.parts
            if parts is None and self.error is None:
                parts = list(answer(question, hits, None, AnswerLimits(), Cancellation(deadline)))
            for part in parts or []:
                await asyncio.sleep(self.pause_s)
                yield part
        except (asyncio.CancelledError, GeneratorExit):
            self.num_cancelled += 1
            raise
        if self.error is not None:
            raise self.error


class FakeIndexing:
    async def look_for_work(self, *, deadline: float) -> None:
        """Do nothing: tests index by themselves."""


@dataclass
class FakeSystem:
    statuses: list[ModelStatus] = field(
        default_factory=lambda: [
            ModelStatus("moondream2", "loaded", "2025-06-21", "", 12.3, 4, 3_900_000_000),
            ModelStatus("whisper-base", "loaded", None, "", 1.2, 2, 145_000_000),
        ]
    )
    deployment_statuses: list[DeploymentStatus] = field(
        default_factory=lambda: [
            DeploymentStatus(name, "running") for name in ("Captioner", "Transcriber", "FrameSampler")
        ]
    )
    free_mb: float = 8000.0

    def models(self) -> list[ModelStatus]:
        return self.statuses

    def deployments(self) -> list[DeploymentStatus]:
        return self.deployment_statuses

    def memory_usage_mb(self) -> float:
        return 3200.04

    def available_memory_mb(self) -> float:
        return self.free_mb

    def cpu_usage_percent(self) -> float:
        return 45.0

    def usage_stats_enabled(self) -> bool:
        return False


@dataclass
class FakeGraph:
    captioner: FakeCaptioner = field(default_factory=FakeCaptioner)
    transcriber: FakeTranscriber = field(default_factory=FakeTranscriber)
    frame_sampler: FakeFrameSampler = field(default_factory=FakeFrameSampler)
    library: Any = None
    """None, or a real library; and the embedder and the parser as far as a test needs them."""
    embedder: Any = None
    document_parser: Any = None
    answerer: FakeAnswerer = field(default_factory=FakeAnswerer)
    text_reader: Any = None
    indexing: Any = field(default_factory=FakeIndexing)
    system: FakeSystem = field(default_factory=FakeSystem)
    uploads: list["weakref.ref[Media]"] = field(default_factory=list)
    """What was copied into shared memory; a reference is dead once nobody holds the original."""
    freed: list[Media] = field(default_factory=list)
    """Whose shared memory was freed."""

    def context(self, settings: AppConfig) -> AppContext:
        services = {
            CAPTIONER.name: self.captioner,
            TRANSCRIBER.name: self.transcriber,
            FRAME_SAMPLER.name: self.frame_sampler,
            LIBRARY.name: OpensSharedMedia(self.library),
            EMBEDDER.name: self.embedder,
            DOCUMENT_PARSER.name: OpensSharedMedia(self.document_parser),
            ANSWERER.name: self.answerer,
            TEXT_READER.name: OpensSharedMedia(self.text_reader),
            INDEXING.name: self.indexing,
        }
        return AppContext(services, settings, self.system, self.share, Speeds(None))

    @asynccontextmanager
    async def share(self, media: Media, *, free_after_failure: bool = True) -> AsyncIterator[Media]:
        self.uploads.append(weakref.ref(media))
        shared = cast(Media, _SharedMedia(media.tobytes(), media.shape))
        del media
        try:
            yield shared
        except BaseException:
            if free_after_failure:
                self.freed.append(shared)
            raise
        self.freed.append(shared)
