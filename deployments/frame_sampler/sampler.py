"""Samples the requested frames of a video, and reads its metadata.

`sample_frames` runs in a sandbox (see deployments/sandbox), and `sample_video` collects what it yields.
"""

import io
from collections.abc import Generator
from contextlib import closing, suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2

from deployments.cancellation import Cancellation
from deployments.container_limits import check_claims
from deployments.frame_sampler.display import display_pixels, display_size
from deployments.frame_sampler.scenes import ComparedFrames, compare_frames, cuts, distinct_frames
from deployments.frame_sampler.types import SampledFrame, SampledVideo, SampleTask, VideoProperties
from deployments.frame_sampler.uniform import uniform_frames
from deployments.frame_sampler.video import Video
from deployments.media import Media, MediaReader

if TYPE_CHECKING:
    from deployments.frame_sampler.settings import FrameSamplerConfig
    from deployments.sandbox import Sandbox

_TIME_ROUNDING_S = Fraction(1, 1000)
"""Matroska rounds times to milliseconds."""

VideoFacts = tuple[VideoProperties, bool, list[float]]
"""Its properties, whether it has sound, and the times of its cuts."""


def sample_video(
    media: Media,
    task: SampleTask,
    config: "FrameSamplerConfig",
    cancellation: Cancellation,
    sandbox: "Sandbox | None" = None,
) -> SampledVideo:
    """Return the frames that `task` asks for, at least one, with their frame numbers and timestamps.

    Timestamps and the duration are on the container's clock. The video stream may start after the audio; `uniform` then
    divides only the time that has frames. Decoding happens in `sandbox` if one is given, else in this process. Raises
    InvalidFile for media without a frame that can be decoded, and what `cancellation.check` raises.
    """
    check_claims(media.data)
    limits = (config.max_video_pixels, config.max_frame_side_px)
    if sandbox is None:
        values = sample_frames(MediaReader(media), task, *limits, cancellation)
    else:
        values = sandbox.run("sample_frames", media, task, *limits, cancellation=cancellation)
    frames: list[SampledFrame] = []
    with closing(values):
        for value in values:
            if isinstance(value, SampledFrame):
                frames.append(value)
            else:
                properties, has_audio, cuts_s = value
                return SampledVideo(properties, sorted(frames, key=lambda frame: frame.frame_number), has_audio, cuts_s)
    raise AssertionError("The last value is VideoFacts.")


def sample_frames(
    file: io.RawIOBase, task: SampleTask, max_video_pixels: int, max_frame_side_px: int, cancellation: Cancellation
) -> Generator[SampledFrame | VideoFacts, None, None]:
    """Yield the frames in any order, and finally the facts about the video."""
    # By default OpenCV uses a thread for every core, which would compete with the models' threads.
    cv2.setNumThreads(1)
    with Video(file, max_video_pixels, cancellation) as video:
        sizes: dict[int, tuple[int, int]] = {}
        compared = compare_frames(video) if task.sampling == "keyframes" or task.find_cuts else None
        for number, frame in video.decode(_choose_frames(video, task, compared)):
            if number in sizes:
                continue  # Stands for a frame that cannot be decoded.
            sizes[number] = display_size(frame, video.pixel_aspect)
            pixels = display_pixels(frame, video.pixel_aspect, max_frame_side_px)
            yield SampledFrame(number, video.timestamp_s(number), pixels)
        stream_duration_s = float(video.duration * video.tick_s)
        width, height = sizes[min(sizes)]
        properties = VideoProperties(
            duration_s=video.end_s,
            fps=len(video.times) / stream_duration_s if stream_duration_s else 0.0,
            width=width,
            height=height,
            total_frames=len(video.times),
        )
        cuts_s = [video.timestamp_s(number) for number in cuts(video, compared)] if compared and task.find_cuts else []
        yield properties, video.has_audio, cuts_s


def warm_up() -> None:
    """Fill the tables of the usual codecs, so that processes forked from this one need not."""
    for name in ("h264", "hevc", "mpeg4", "mjpeg", "vp8", "vp9"):
        codec = av.CodecContext.create(name, "r")
        codec.thread_count = 1
        with suppress(av.FFmpegError):
            codec.open()


def _choose_frames(video: Video, task: SampleTask, compared: ComparedFrames | None) -> list[int]:
    if task.at_s is not None:
        return [video.number_at(task.at_s)]
    if task.sampling == "keyframes" and compared is not None:
        return distinct_frames(compared, task.num_frames)
    tolerance = min(Fraction(1), _TIME_ROUNDING_S / video.tick_s)
    return uniform_frames(video.times, video.duration, task.num_frames, tolerance)
