"""The captioner as other parts of the graph see it."""

from typing import Protocol

from deployments.captioner.types import Caption, CaptionTask, FrameFailure, ImageCaption
from deployments.media import Media, Pixels


class CaptionerService(Protocol):
    """Describes pictures. `deadline` is in epoch seconds; calls raise ServiceErrors."""

    async def caption_image(self, media: Media, task: CaptionTask, *, deadline: float) -> ImageCaption: ...

    async def caption_frames(
        self, frames: list[Pixels], task: CaptionTask, *, deadline: float
    ) -> list[Caption | FrameFailure]:
        """Return one outcome for each frame, in order; a frame that fails does not affect the others."""

    async def summarize(self, descriptions: list[str], max_new_tokens: int, *, deadline: float) -> Caption: ...
