"""What the rest of the graph may call on the transcriber."""

from collections.abc import AsyncGenerator
from typing import Protocol

from deployments.media import Media
from deployments.transcriber.types import TranscribeTask, Transcript, TranscriptProgress


class TranscriberService(Protocol):
    async def transcribe(self, media: Media, task: TranscribeTask, *, deadline: float) -> Transcript:
        """Return what is said in an audio file or on a video's audio track.

        `deadline` is in epoch seconds. Raises InvalidFile for media without audio that can be decoded, FileTooLarge for
        audio over the configured duration, InvalidRequest for a language that the model does not know, ModelNotLoaded
        while there is no model, and DeadlineExceeded with how far the work got.
        """

    def stream_transcript(
        self, media: Media, task: TranscribeTask, *, deadline: float
    ) -> AsyncGenerator[TranscriptProgress | Transcript, None]:
        """Yield the progress of `transcribe`, and at last what it returns; raises as that does.

        If the replica is replaced meanwhile, the items begin anew, with the same segments.
        """
