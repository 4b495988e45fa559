"""What the rest of the graph may call on the text reader."""

from typing import Protocol

from deployments.media import Media, Pixels
from deployments.text_reader.types import ReadImage


class TextReaderService(Protocol):
    """`deadline` is in epoch seconds. Raises ModelNotLoaded while there is no model, and DeadlineExceeded."""

    async def read_image(self, media: Media, *, deadline: float) -> ReadImage:
        """Return the text in an encoded picture; raises InvalidFile if it cannot be decoded."""

    async def read_pixels(self, pixels: Pixels, *, deadline: float) -> ReadImage:
        """Return the text in a rendered page or a video frame."""

    async def decode(self, media: Media, max_side_px: int, *, deadline: float) -> Pixels:
        """Return an encoded picture as it is displayed, scaled down to at most `max_side_px` a side; needs no model.

        Raises InvalidFile if it cannot be decoded."""
