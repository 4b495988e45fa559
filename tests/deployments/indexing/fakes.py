"""In-memory services at the border of the indexing, for states that the real ones cannot show on demand."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np

from deployments.captioner.protocol import CaptionerService
from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption
from deployments.document_parser.protocol import DocumentParserService
from deployments.document_parser.types import DocumentFormat, DocumentInfo, Page, Paragraph
from deployments.embedder.protocol import EmbedderService
from deployments.embedder.types import VECTOR_DIM, Vectors
from deployments.errors import NotFound
from deployments.frame_sampler.protocol import FrameSamplerService
from deployments.frame_sampler.types import SampledFrame, SampledVideo, SampleTask, VideoProperties
from deployments.indexing.deployment import IndexingDeployment
from deployments.indexing.settings import IndexingConfig
from deployments.library.protocol import LibraryService
from deployments.library.types import (
    FileError,
    FileProgress,
    FileRecord,
    FileType,
    Job,
    NewChunk,
)
from deployments.media import Media, Pixels, as_media
from deployments.places import TextLine
from deployments.text_reader.protocol import TextReaderService
from deployments.text_reader.types import ReadImage
from deployments.transcriber.protocol import TranscriberService
from deployments.transcriber.types import TranscribeTask, Transcript, TranscriptSegment, TranscriptWord


def count_words(text: str) -> int:
    """Count as a tokenizer does that knows every word: words, punctuation marks, Chinese characters."""
    return len(re.findall(r"[\u3000-\u9fff]|[^\W_\u3000-\u9fff]+|[^\w\s]|_", text))


async def count_tokens(texts: list[str]) -> list[int]:
    return [count_words(text) for text in texts]


def line(text: str, top: float, left: float = 0.1, right: float = 0.9, height: float = 0.015) -> TextLine:
    return TextLine(text, (left, top, right, top + height))


def page(number: int, *texts: str, printed: str | None = None) -> Page:
    """Return a page of lines set solid, each as wide as the page."""
    lines = [line(text, 0.1 + 0.018 * index) for index, text in enumerate(texts)]
    return Page(number, printed, lines, has_usable_text=True)


def scan(number: int) -> Page:
    return Page(number, None, [], has_usable_text=False)


def frame(number: int, timestamp_s: float) -> SampledFrame:
    return SampledFrame(number, timestamp_s, np.full((4, 4, 3), number, np.uint8))


def spoken(text: str, start_s: float, word_s: float = 0.3) -> TranscriptSegment:
    """Return a segment whose words follow each other without a pause."""
    words = [
        TranscriptWord(f" {word}", start_s + index * word_s, start_s + (index + 1) * word_s, 0.9)
        for index, word in enumerate(text.split())
    ]
    return TranscriptSegment(start_s, words[-1].end_s, text, 0.9, words)


@dataclass
class FakeServices:
    """What each service returns; an exception as a value is raised. `calls` has the name of each call, in order."""

    pages: list[Page] = field(default_factory=list)
    read_s: float = 0.0
    """How long a call for pages or for a transcript takes."""
    paragraphs: list[Paragraph] = field(default_factory=list)
    read_pages_error: Callable[[int, int], BaseException | None] = lambda first, count: None
    render_error: Callable[[int], BaseException | None] = lambda page: None
    scanned: list[TextLine] = field(default_factory=lambda: [line("Read by OCR.", 0.1)])
    """What is in every picture without an entry in `frame_lines`."""
    frame_lines: dict[int, list[TextLine]] = field(default_factory=dict)
    """What is on a frame, by its first pixel's value."""
    caption: str | BaseException = "A red cube on a table."
    frame_failures: set[int] = field(default_factory=set)
    segments: list[TranscriptSegment] | BaseException = field(default_factory=list)
    frames: list[SampledFrame] | BaseException = field(default_factory=list)
    cuts_s: list[float] = field(default_factory=list)
    num_transcribing: int = 0
    most_transcribing: int = 0
    has_audio: bool = True
    embed_error: BaseException | None = None
    embed_after: int | None = None
    """After so many calls, embedding hangs until this is None again."""
    calls: list[str] = field(default_factory=list)
    num_turns: int = 0
    deadlines: dict[str, float] = field(default_factory=dict)
    """Seconds that the last call of each name had."""

    def _note(self, name: str, deadline: float) -> None:
        self.calls.append(name)
        self.deadlines[name] = deadline - time.time()

    async def open(self, media: Media, document_format: DocumentFormat, *, deadline: float) -> DocumentInfo:
        self._note("open", deadline)
        return DocumentInfo(len(self.pages))

    async def read_pages(self, media: Media, first: int, count: int, *, deadline: float) -> list[Page]:
        self._note("read_pages", deadline)
        await asyncio.sleep(self.read_s)
        if error := self.read_pages_error(first, count):
            raise error
        return self.pages[first - 1 : first - 1 + count]

    async def render_page(self, media: Media, page: int, dpi: int, *, deadline: float) -> Pixels:
        self._note("render_page", deadline)
        if error := self.render_error(page):
            raise error
        return np.full((4, 4, 3), 255, np.uint8)

    async def read_paragraphs(
        self, media: Media, document_format: DocumentFormat, first: int, count: int, *, deadline: float
    ) -> list[Paragraph]:
        self._note("read_paragraphs", deadline)
        return self.paragraphs[first : first + count]

    async def read_image(self, media: Media, *, deadline: float) -> ReadImage:
        self._note("read_image", deadline)
        return ReadImage(1000, 2000, self.scanned)

    async def read_pixels(self, pixels: Pixels, *, deadline: float) -> ReadImage:
        self._note("read_pixels", deadline)
        return ReadImage(4, 4, self.frame_lines.get(int(pixels[0, 0, 0]), self.scanned))

    async def embed_query(self, text: str, *, deadline: float) -> Vectors:
        raise AssertionError("Indexing asks no query.")

    async def embed_passages(self, texts: list[str], *, deadline: float) -> Vectors:
        self._note("embed_passages", deadline)
        while self.embed_after is not None and self.calls.count("embed_passages") > self.embed_after:
            await asyncio.sleep(0.01)
        if self.embed_error is not None:
            raise self.embed_error
        return np.zeros((len(texts), VECTOR_DIM), np.float32)

    async def count_tokens(self, texts: list[str], *, deadline: float) -> list[int]:
        self._note("count_tokens", deadline)
        return await count_tokens(texts)

    async def caption_image(self, media: Media, task: CaptionTask, *, deadline: float) -> ImageCaption:
        self._note("caption_image", deadline)
        return ImageCaption(Caption(_value(self.caption), "stop"), 1000, 2000, 730)

    async def caption_frames(
        self, frames: list[Pixels], task: CaptionTask, *, deadline: float
    ) -> list[Caption | FrameFailure]:
        self._note("caption_frames", deadline)
        numbers = [int(pixels[0, 0, 0]) for pixels in frames]
        return [
            FrameFailure("no caption") if number in self.frame_failures else Caption(f"Scene {number}.", "stop")
            for number in numbers
        ]

    async def summarize(self, descriptions: list[str], max_new_tokens: int, *, deadline: float) -> Caption:
        raise AssertionError("Indexing asks for no summary.")

    async def transcribe(self, media: Media, task: TranscribeTask, *, deadline: float) -> Transcript:
        self._note("transcribe", deadline)
        assert task.word_timestamps
        self.num_transcribing += 1
        self.most_transcribing = max(self.most_transcribing, self.num_transcribing)
        await asyncio.sleep(self.read_s)
        self.num_transcribing -= 1
        segments = _value(self.segments)
        return Transcript("", "en", 0.9, segments, segments[-1].end_s if segments else 0.0)

    async def sample(self, media: Media, task: SampleTask, *, deadline: float) -> SampledVideo:
        self._note("sample", deadline)
        assert task.find_cuts
        properties = VideoProperties(30.0, 25.0, 640, 360, 750)
        return SampledVideo(properties, _value(self.frames), self.has_audio, self.cuts_s)

    async def wait_for_turn(self) -> None:
        self.num_turns += 1


def _value(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


@dataclass
class FakeLibrary:
    """A library whose jobs and chunks are lists."""

    files: dict[int, FileRecord] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    """Ids of files that wait for a worker."""
    stored: dict[int, dict[int, NewChunk]] = field(default_factory=dict)
    """By file and number, visible or not."""
    completed: dict[int, list[NewChunk]] = field(default_factory=dict)
    released: dict[int, float] = field(default_factory=dict)
    """The delay of each file that was given back."""
    retryable: dict[int, bool] = field(default_factory=dict)
    progress: list[tuple[int, str, float, str]] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    """Files whose job is no longer the worker's."""
    lease_errors: list[BaseException] = field(default_factory=list)
    """Raised by the next calls of `lease_job`."""
    largest_call: int = 0
    """Chunks in the largest call of `add_chunks`."""
    num_leases: int = 0

    def add(self, file_type: FileType, file_format: str) -> int:
        file_id = len(self.files) + 1
        self.files[file_id] = FileRecord(
            file_id, f"file.{file_format}", f"file.{file_format}", file_type, "", file_format, 1,
            datetime.now(UTC), "", "pending", FileProgress("", 0, None, ""), None, 0,
        )  # fmt: skip
        self.queue.append(file_id)
        return file_id

    async def lease_job(self, worker: str, lease_s: float, *, deadline: float) -> Job | None:
        self.num_leases += 1
        if self.lease_errors:
            raise self.lease_errors.pop()
        if not self.queue:
            return None
        file_id = self.queue.pop(0)
        return Job(file_id, "lease", self.files[file_id], 1, len(self.stored.get(file_id, ())))

    async def original(self, file_id: int, *, deadline: float) -> Media:
        if file_id in self.lost:
            raise NotFound(f"There is no file {file_id}.")
        return as_media(b"content")

    async def report_progress(
        self, job_id: int, lease: str, stage: str, fraction: float, message: str, lease_s: float, *, deadline: float
    ) -> bool:
        self.progress.append((job_id, stage, fraction, message))
        return job_id not in self.lost

    async def add_chunks(
        self, job_id: int, lease: str, first: int, chunks: list[NewChunk], vectors: Vectors, *, deadline: float
    ) -> bool:
        assert vectors.shape == (len(chunks), VECTOR_DIM)
        self.largest_call = max(self.largest_call, len(chunks))
        self.stored.setdefault(job_id, {}).update(enumerate(chunks, first))
        return job_id not in self.lost

    async def complete_job(self, job_id: int, lease: str, num_chunks: int, *, deadline: float) -> bool:
        self.completed[job_id] = [self.stored[job_id][number] for number in range(num_chunks)]
        self._set(job_id, status="completed")
        return job_id not in self.lost

    async def fail_job(
        self, job_id: int, lease: str, code: str, message: str, *, may_retry: bool, deadline: float
    ) -> bool:
        self.retryable[job_id] = may_retry
        self._set(job_id, status="failed", error=FileError(code, message))
        return job_id not in self.lost

    async def release_job(self, job_id: int, lease: str, delay_s: float, *, deadline: float) -> bool:
        self.released[job_id] = delay_s
        return job_id not in self.lost

    def _set(self, file_id: int, **changes: Any) -> None:
        self.files[file_id] = replace(self.files[file_id], **changes)


DEFAULTS = IndexingConfig()


@asynccontextmanager
async def share(media: Media) -> AsyncIterator[Media]:
    yield media


def start(library: FakeLibrary, services: FakeServices, config: IndexingConfig = DEFAULTS) -> IndexingDeployment:
    """Start the indexing on the running event loop."""
    return IndexingDeployment(
        config,
        library=cast(LibraryService, library),
        document_parser=cast(DocumentParserService, services),
        text_reader=cast(TextReaderService, services),
        embedder=cast(EmbedderService, services),
        captioner=cast(CaptionerService, services),
        transcriber=cast(TranscriberService, services),
        frame_sampler=cast(FrameSamplerService, services),
        wait_for_turn=services.wait_for_turn,
        share=share,
    )


async def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


def index(
    file_type: FileType, file_format: str, services: FakeServices, config: IndexingConfig = DEFAULTS
) -> list[NewChunk]:
    """Return the chunks of one file, indexed by the loop; fails if the file does."""

    async def scenario() -> list[NewChunk]:
        library = FakeLibrary()
        file_id = library.add(file_type, file_format)
        indexing = start(library, services, config)
        await until(lambda: file_id in library.completed or library.files[file_id].error is not None)
        await indexing.close()
        assert library.files[file_id].error is None
        return library.completed[file_id]

    return asyncio.run(scenario())


def fail(file_type: FileType, file_format: str, services: FakeServices) -> tuple[FileError, bool]:
    """Return why a file fails, and whether it may be tried again."""

    async def scenario() -> tuple[FileError, bool]:
        library = FakeLibrary()
        file_id = library.add(file_type, file_format)
        indexing = start(library, services)
        await until(lambda: library.files[file_id].error is not None)
        await indexing.close()
        error = library.files[file_id].error
        assert error is not None
        return error, library.retryable[file_id]

    return asyncio.run(scenario())


def remarks(file_type: FileType, file_format: str, services: FakeServices) -> str:
    """Return the message that stays with a completed file."""

    async def scenario() -> str:
        library = FakeLibrary()
        file_id = library.add(file_type, file_format)
        indexing = start(library, services)
        await until(lambda: file_id in library.completed)
        await indexing.close()
        return library.progress[-1][-1]

    return asyncio.run(scenario())


def texts(chunks: Sequence[NewChunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def sources(chunks: Sequence[NewChunk]) -> list[dict[str, Any]]:
    return [chunk.source_info for chunk in chunks]
