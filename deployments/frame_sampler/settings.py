"""Settings of the frame sampler."""

from pydantic import Field

from deployments.settings import Section


class FrameSamplerConfig(Section):
    max_frame_side_px: int = Field(756, ge=126)
    """Longer side of the frames that are sent to the captioner: twice its crop size, at most 1.7 MB per frame."""
    max_video_pixels: int = Field(8192 * 4608, ge=1)
    """Videos with more pixels per frame are refused: decoding would take hundreds of megabytes per frame."""
