"""Sounds that are known exactly, and files that hold them."""

import io
from collections.abc import Mapping

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from deployments.media import Media, as_media
from deployments.transcriber.audio import SAMPLE_RATE, Waveform

Channels = NDArray[np.float32]
"""Shape (num_channels, num_samples), float32 in [-1, 1]."""

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def tone(sample_rate: int = SAMPLE_RATE, *, hz: float = 1000, start_s: float = 0.5, end_s: float = 2.0) -> Waveform:
    """Return silence up to `start_s`, then a sine of amplitude 0.5 that would be 0 at time 0."""
    time_s = np.arange(round(end_s * sample_rate)) / sample_rate
    sound: Waveform = np.where(time_s >= start_s, 0.5 * np.sin(2 * np.pi * hz * time_s), 0).astype(np.float32)
    return sound


def noise(duration_s: float, seed: int = 0) -> Waveform:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * SAMPLE_RATE))).astype(np.float32)


def encode(
    channels: Channels, sample_rate: int, container: str, codec: str, options: Mapping[str, str] | None = None
) -> Media:
    """Return a file with one audio stream."""
    output = io.BytesIO()
    layout = LAYOUTS[len(channels)]
    with av.open(output, "w", container) as file:
        stream = file.add_stream(codec, rate=sample_rate, layout=layout, options=dict(options or {}))
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels.T).reshape(1, -1), "flt", layout)
        frame.sample_rate, frame.pts = sample_rate, 0
        resampler = av.AudioResampler(stream.codec_context.format, layout, sample_rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return as_media(output.getvalue())


def encode_video(sound: Waveform | None) -> Media:
    """Return an MP4 of one second with `sound` (at SAMPLE_RATE) on its audio track, or without one."""
    output = io.BytesIO()
    with av.open(output, "w", "mp4") as file:
        video = file.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p")
        audio = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if sound is not None else None
        for index in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), "rgb24")
            file.mux(video.encode(picture))
        file.mux(video.encode(None))
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            file.mux(audio.encode(frame))
            file.mux(audio.encode(None))
    return as_media(output.getvalue())


def wav(sound: Waveform, sample_rate: int = SAMPLE_RATE) -> Media:
    return encode(sound[None], sample_rate, "wav", "pcm_s16le")
