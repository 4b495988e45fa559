"""Settings of the frame sampler."""

from pydantic import Field

from deployments.settings import Section


class FrameSamplerConfig(Section):
    max_frame_side_px: int = Field(756, ge=126)
    """Frames are scaled down to this longer side before they travel: twice the captioner's crop, 1 MB a frame."""
    max_video_pixels: int = Field(8192 * 4608, ge=1)
    """A video with more pixels a frame is refused: one decoded frame would take hundreds of megabytes."""
