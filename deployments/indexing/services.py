"""The calls of the indexing to the services that read files, each with its turn and its time limit.

Nobody waits for background work, so the limits are generous: they only end calls that hang. A limit starts when the
call has its turn.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from deployments.captioner.protocol import CaptionerService
from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption
from deployments.document_parser.protocol import DocumentParserService
from deployments.document_parser.types import DocumentFormat, DocumentInfo, Page, Paragraph
from deployments.embedder.protocol import EmbedderService
from deployments.embedder.types import Vectors
from deployments.frame_sampler.protocol import FrameSamplerService
from deployments.frame_sampler.types import SampledVideo, SampleTask
from deployments.media import Media, Pixels
from deployments.text_reader.protocol import TextReaderService
from deployments.text_reader.types import ReadImage
from deployments.transcriber.protocol import TranscriberService
from deployments.transcriber.types import TranscribeTask, Transcript

PARSING_S = 60.0
"""For a batch of pages or paragraphs, or to render a page."""
READING_S = 300.0
"""For the text of one picture or page, which takes about 4 s of a core."""
EMBEDDING_S = 300.0
"""For a batch of chunks, which takes about 1 s of a core."""
CAPTIONING_S = 1200.0
"""For one picture, or the frames of one call, which take up to a minute each on a busy laptop."""
SAMPLING_S = 1200.0
"""For the frames of a video, of which up to 4 billion pixels are decoded."""
TRANSCRIBING_S = 7200.0
"""For a recording of up to two hours, the longest that the transcriber takes by default: as long as it plays."""

WaitForTurn = Callable[[], Awaitable[None]]
"""Returns when no interactive request is being worked on."""

Share = Callable[[Media], AbstractAsyncContextManager[Media]]
"""Copies media into memory that all processes share, for calls to services within a block. They may not be read in
another way any more."""


@dataclass(frozen=True)
class Services:
    document_parser: DocumentParserService
    text_reader: TextReaderService
    embedder: EmbedderService
    captioner: CaptionerService
    transcriber: TranscriberService
    frame_sampler: FrameSamplerService
    wait_for_turn: WaitForTurn
    share: Share
    transcribing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held during a transcription, which may take as long as the recording plays: one at a time, so that the
    transcriber has room for interactive requests."""

    async def open_document(self, media: Media, document_format: DocumentFormat) -> DocumentInfo:
        await self.wait_for_turn()
        return await self.document_parser.open(media, document_format, deadline=_within(PARSING_S))

    async def read_pages(self, media: Media, first: int, count: int) -> list[Page]:
        await self.wait_for_turn()
        return await self.document_parser.read_pages(media, first, count, deadline=_within(PARSING_S))

    async def render_page(self, media: Media, page: int, dpi: int) -> Pixels:
        await self.wait_for_turn()
        return await self.document_parser.render_page(media, page, dpi, deadline=_within(PARSING_S))

    async def read_paragraphs(
        self, media: Media, document_format: DocumentFormat, first: int, count: int
    ) -> list[Paragraph]:
        await self.wait_for_turn()
        return await self.document_parser.read_paragraphs(
            media, document_format, first, count, deadline=_within(PARSING_S)
        )

    async def read_image(self, media: Media) -> ReadImage:
        await self.wait_for_turn()
        return await self.text_reader.read_image(media, deadline=_within(READING_S))

    async def read_pixels(self, pixels: Pixels) -> ReadImage:
        """Return the text of pixels, which may not be used any more: their memory is given back to the system."""
        await self.wait_for_turn()
        async with self.share(pixels) as shared:
            return await self.text_reader.read_pixels(shared, deadline=_within(READING_S))

    async def embed_passages(self, texts: list[str]) -> Vectors:
        await self.wait_for_turn()
        return await self.embedder.embed_passages(texts, deadline=_within(EMBEDDING_S))

    async def count_tokens(self, texts: list[str]) -> list[int]:
        await self.wait_for_turn()
        return await self.embedder.count_tokens(texts, deadline=_within(EMBEDDING_S))

    async def caption_image(self, media: Media, task: CaptionTask) -> ImageCaption:
        await self.wait_for_turn()
        return await self.captioner.caption_image(media, task, deadline=_within(CAPTIONING_S))

    async def caption_frames(self, frames: list[Pixels], task: CaptionTask) -> list[Caption | FrameFailure]:
        await self.wait_for_turn()
        return await self.captioner.caption_frames(frames, task, deadline=_within(CAPTIONING_S))

    async def transcribe(self, media: Media, task: TranscribeTask) -> Transcript:
        await self.wait_for_turn()
        async with self.transcribing:
            return await self.transcriber.transcribe(media, task, deadline=_within(TRANSCRIBING_S))

    async def sample(self, media: Media, task: SampleTask) -> SampledVideo:
        await self.wait_for_turn()
        return await self.frame_sampler.sample(media, task, deadline=_within(SAMPLING_S))


def _within(seconds: float) -> float:
    return time.time() + seconds
