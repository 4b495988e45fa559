"""Sampling a video: the frames asked for, and what its packets tell about it."""

from fractions import Fraction

from deployments.cancellation import Cancellation
from deployments.frame_sampler.picture import displayed_pixels, displayed_size
from deployments.frame_sampler.sampling import uniform_frames
from deployments.frame_sampler.scenes import distinct_frames
from deployments.frame_sampler.settings import FrameSamplerConfig
from deployments.frame_sampler.types import SampledFrame, SampledVideo, SampleTask, VideoMetadata
from deployments.frame_sampler.video import Video
from deployments.media import Media, Pixels

_ROUNDING_S = Fraction(1, 1000)
"""Matroska keeps times in milliseconds."""


def sample_video(
    media: Media, task: SampleTask, config: FrameSamplerConfig, cancellation: Cancellation
) -> SampledVideo:
    """Return the frames that `task` asks for, at least one, with their true numbers and times.

    Where pictures begin later than the container's clock, as they may behind sound, timestamps and duration are on that
    clock, and `uniform` divides the time in which there are pictures. Raises InvalidFile for media without a frame that
    can be shown, and what `cancellation.check` raises.
    """
    with Video(media, config.max_video_pixels, cancellation) as video:
        numbers = _frames_asked_for(video, task)
        pixels: dict[int, Pixels] = {}
        sizes: dict[int, tuple[int, int]] = {}
        for number, frame in video.decode(numbers):
            pixels[number] = displayed_pixels(frame, video.pixel_aspect, config.max_frame_side_px)
            sizes[number] = displayed_size(frame, video.pixel_aspect)
        frames = [SampledFrame(number, video.timestamp_s(number), pixels[number]) for number in sorted(pixels)]
        shown_s = float(video.duration * video.tick_s)
        width, height = sizes[frames[0].frame_number]
        metadata = VideoMetadata(
            duration_s=video.end_s,
            fps=len(video.times) / shown_s if shown_s else 0.0,
            width=width,
            height=height,
            total_frames=len(video.times),
        )
        return SampledVideo(metadata, frames, video.has_audio)


def _frames_asked_for(video: Video, task: SampleTask) -> list[int]:
    if task.sampling == "keyframes":
        return distinct_frames(video, task.num_frames)
    tolerance = min(Fraction(1), _ROUNDING_S / video.tick_s)
    return uniform_frames(video.times, video.duration, task.num_frames, tolerance)
