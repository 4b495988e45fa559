"""What the frame sampler is asked and what it answers; these values cross process borders."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FrameSampling = Literal["uniform", "keyframes"]


@dataclass(frozen=True)
class SampleTask:
    num_frames: int
    sampling: FrameSampling


@dataclass(frozen=True)
class VideoMetadata:
    duration_s: float
    """Last presentation time plus last interval, on the container's clock, counted from the packets."""
    fps: float
    """Frames a second from the first frame to the end."""
    width: int
    height: int
    """The size as a person sees it, rotation applied."""
    total_frames: int


@dataclass(frozen=True)
class SampledFrame:
    frame_number: int
    """Position in presentation order, from 0."""
    timestamp_s: float
    """The container's presentation time: the clock that its sound is on."""
    pixels: NDArray[np.uint8]
    """Shape (height, width, 3), uint8 RGB, as a person sees it; scaled down where it exceeds the configured side."""


@dataclass(frozen=True)
class SampledVideo:
    metadata: VideoMetadata
    frames: list[SampledFrame]
    """In time order."""
    has_audio: bool
