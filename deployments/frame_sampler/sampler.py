"""Samples the requested frames of a video, and reads its metadata."""

from fractions import Fraction

from deployments.cancellation import Cancellation
from deployments.frame_sampler.display import display_pixels, display_size
from deployments.frame_sampler.scenes import distinct_frames
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import SampledFrame, SampledVideo, SampleTask, VideoMetadata
from deployments.frame_sampler.uniform import uniform_frames
from deployments.frame_sampler.video import Video
from deployments.media import Media, Pixels

_TIME_ROUNDING_S = Fraction(1, 1000)
"""Matroska rounds times to milliseconds."""


def sample_video(
    media: Media, task: SampleTask, config: FrameSamplerConfig, cancellation: Cancellation
) -> SampledVideo:
    """Return the frames that `task` asks for, at least one, with their frame numbers and timestamps.

    Timestamps and the duration are on the container's clock. The video stream may start after the audio; `uniform` then
    divides only the time that has frames. Raises InvalidFile for media without a frame that can be decoded, and what
    `cancellation.check` raises.
    """
    with Video(media, config.max_video_pixels, cancellation) as video:
        frame_numbers = _choose_frames(video, task)
        pixels: dict[int, Pixels] = {}
        sizes: dict[int, tuple[int, int]] = {}
        for number, frame in video.decode(frame_numbers):
            pixels[number] = display_pixels(frame, video.pixel_aspect, config.max_frame_side_px)
            sizes[number] = display_size(frame, video.pixel_aspect)
        frames = [SampledFrame(number, video.timestamp_s(number), pixels[number]) for number in sorted(pixels)]
        stream_duration_s = float(video.duration * video.tick_s)
        width, height = sizes[frames[0].frame_number]
        metadata = VideoMetadata(
            duration_s=video.end_s,
            fps=len(video.times) / stream_duration_s if stream_duration_s else 0.0,
            width=width,
            height=height,
            total_frames=len(video.times),
        )
        return SampledVideo(metadata, frames, video.has_audio)


def _choose_frames(video: Video, task: SampleTask) -> list[int]:
    if task.sampling == "keyframes":
        return distinct_frames(video, task.num_frames)
    tolerance = min(Fraction(1), _TIME_ROUNDING_S / video.tick_s)
    return uniform_frames(video.times, video.duration, task.num_frames, tolerance)
