"""The transcriber as other parts of the graph see it."""

from typing import Protocol

from deployments.media import Media
from deployments.transcriber.types import TranscribeTask, Transcript


class TranscriberService(Protocol):
    """Transcribes recordings. `deadline` is in epoch seconds; calls raise ServiceErrors."""

    async def transcribe(self, media: Media, task: TranscribeTask, *, deadline: float) -> Transcript: ...
