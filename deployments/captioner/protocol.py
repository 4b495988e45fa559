"""What the rest of the graph may call on the captioner."""

from collections.abc import AsyncGenerator
from typing import Protocol

from deployments.captioner.types import Caption, CaptionProgress, CaptionTask, FrameFailure, ImageCaption
from deployments.media import Media, Pixels


class CaptionerService(Protocol):
    """The methods of CaptionerDeployment that requests use.

    `deadline` is a point on the epoch clock (`time.time()`, seconds). Calls raise ServiceErrors; DeadlineExceeded says
    how far the work had got. The work stops when the awaiting task is cancelled.
    """

    async def caption_image(self, media: Media, task: CaptionTask, *, deadline: float) -> ImageCaption:
        """Return what the model says about an encoded image of a format that `deployments.images` decodes."""

    def stream_image_caption(
        self, media: Media, task: CaptionTask, *, deadline: float
    ) -> AsyncGenerator[CaptionProgress | ImageCaption, None]:
        """Yield the progress of `caption_image`, and at last what it returns.

        If the replica is replaced meanwhile, the items begin anew, with the same text.
        """

    async def caption_frames(
        self, frames: list[Pixels], task: CaptionTask, *, deadline: float
    ) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame, in order. A frame that fails does not affect the others."""

    async def summarize(self, descriptions: list[str], max_new_tokens: int, *, deadline: float) -> Caption:
        """Return a summary of a video, from descriptions of its frames in time order."""
