"""Requests and results of the frame sampler. Ray pickles them on their way between processes."""

from dataclasses import dataclass, field
from typing import Literal

from deployments.media import Pixels

FrameSampling = Literal["uniform", "keyframes"]
"""Frames at equal time intervals, or frames of visually distinct scenes (not the keyframes of the video's encoding)."""


@dataclass(frozen=True)
class SampleTask:
    num_frames: int
    sampling: FrameSampling
    at_s: float | None = None
    """If given, only the frame that is on screen at this time of the container's clock; before the first and after
    the last frame, that one."""
    find_cuts: bool = False
    """Whether `cuts_s` is wanted; this decodes up to 360 frames and those around each cut."""


@dataclass(frozen=True)
class VideoProperties:
    duration_s: float
    """End of the last frame on the container's clock, computed from the packets."""
    fps: float
    """Mean frames per second, from the first frame to the end of the last."""
    width: int
    height: int
    """Display size: rotated and with square pixels."""
    total_frames: int


@dataclass(frozen=True)
class SampledFrame:
    frame_number: int
    """Position in presentation order, from 0."""
    timestamp_s: float
    """Presentation time on the container's clock, which its audio shares."""
    pixels: Pixels
    """Shape (height, width, 3), uint8 RGB: the frame as a player shows it, scaled down to the configured maximum."""


@dataclass(frozen=True)
class SampledVideo:
    properties: VideoProperties
    frames: list[SampledFrame]
    """In presentation order."""
    has_audio: bool
    cuts_s: list[float] = field(default_factory=list)
    """If wanted: when each shot but the first begins, on the container's clock, ascending."""
