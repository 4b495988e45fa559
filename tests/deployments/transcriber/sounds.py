"""Test signals, and media files that contain them."""

import io
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition
from numpy.typing import NDArray

from deployments.media import Media, as_media
from deployments.transcriber.audio import SAMPLE_RATE, Waveform

_CLUSTER = b"\x1f\x43\xb6\x75"
"""The name of the Matroska element that holds some seconds of sound and pictures."""
_SAMPLES_PER_PACKET = 4096
"""For codecs without a fixed frame size; a usual value."""

Channels = NDArray[np.float32]
"""Shape (num_channels, num_samples), float32 in [-1, 1]."""

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def tone(sample_rate: int = SAMPLE_RATE, *, hz: float = 1000, start_s: float = 0.5, end_s: float = 2.0) -> Waveform:
    """Return silence up to `start_s`, then a sine of amplitude 0.5 that would be 0 at time 0."""
    time_s = np.arange(round(end_s * sample_rate)) / sample_rate
    sound: Waveform = np.where(time_s >= start_s, 0.5 * np.sin(2 * np.pi * hz * time_s), 0).astype(np.float32)
    return sound


def sweep(duration_s: float, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """Return a signal that differs at each time: its pitch rises from 200 Hz by 100 Hz per second, and its amplitude
    oscillates below 0.5.
    """
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    loudness = 0.3 + 0.2 * np.sin(2 * np.pi * 0.7 * time_s + 1)
    sound: Waveform = (loudness * np.sin(2 * np.pi * (200 + 50 * time_s) * time_s)).astype(np.float32)
    return sound


def noise(duration_s: float, seed: int = 0) -> Waveform:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(duration_s * SAMPLE_RATE))).astype(np.float32)


def encode(
    channels: Channels,
    sample_rate: int,
    container: str,
    codec: str,
    options: Mapping[str, str] | None = None,
    *,
    container_options: Mapping[str, str] | None = None,
    bit_rate: int | None = None,
    is_streamed: bool = False,
) -> Media:
    """Return a file with one audio stream.

    If `is_streamed`, the writer cannot seek back to write the length into the header.
    """
    layout = LAYOUTS[len(channels)]

    def mux(file: OutputContainer) -> None:
        stream = file.add_stream(codec, rate=sample_rate, layout=layout, options=dict(options or {}))
        assert isinstance(stream, AudioStream)
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        _mux_sound(file, stream, channels, sample_rate)

    return _write(container, container_options, is_streamed, mux)


def encode_video(
    sound: Waveform | None,
    sample_rate: int = SAMPLE_RATE,
    container: str = "mp4",
    codec: str = "aac",
    *,
    container_options: Mapping[str, str] | None = None,
    is_streamed: bool = False,
    num_pictures: int = 10,
    video_codec: str = "mpeg4",
    fps: int = 10,
    bit_rate: int | None = None,
) -> Media:
    """Return a video with `fps` frames per second and `sound` on its audio track, or without one."""

    def mux(file: OutputContainer) -> None:
        video: Any = file.add_stream(video_codec, rate=fps, width=64, height=48, pix_fmt="yuv420p")
        audio = file.add_stream(codec, rate=sample_rate, layout="mono") if sound is not None else None
        if isinstance(audio, AudioStream) and bit_rate is not None:
            audio.bit_rate = bit_rate
        for index in range(num_pictures):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index % 256, np.uint8), "rgb24")
            file.mux(video.encode(picture))
        file.mux(video.encode(None))
        if sound is not None:
            assert isinstance(audio, AudioStream)
            _mux_sound(file, audio, sound[None], sample_rate)

    return _write(container, container_options, is_streamed, mux)


@dataclass(frozen=True)
class SoundTrack:
    """A mono track of a file."""

    sound: Waveform
    """At SAMPLE_RATE; an empty one has no packets."""
    start_s: float = 0.0
    is_default: bool = True
    bit_rate: int = 64_000
    gaps_s: Mapping[float, float] = field(default_factory=dict)
    """After so many seconds of sound, the timestamps skip so many seconds."""
    language: str = ""
    title: str = ""


def encode_tracks(
    *tracks: SoundTrack,
    container: str = "mp4",
    codec: str = "aac",
    num_pictures: int = 0,
    container_options: Mapping[str, str] | None = None,
) -> Media:
    """Return a file with several tracks of sound, and one of pictures (10 per second) if `num_pictures` is not 0."""

    def mux(file: OutputContainer) -> None:
        video = file.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p") if num_pictures else None
        streams = []
        for track in tracks:
            stream = file.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
            assert isinstance(stream, AudioStream)
            stream.bit_rate = track.bit_rate
            stream.metadata.update({"language": track.language, "title": track.title})
            stream.disposition = Disposition.default if track.is_default else Disposition(0)
            stream.codec_context.open(strict=False)
            streams.append(stream)
        packets = []
        for track, stream in zip(tracks, streams, strict=True):
            packets += _packets(track, stream)
        for index in range(num_pictures):
            assert video is not None
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index % 256, np.uint8), "rgb24")
            packets += video.encode(picture)
        if video is not None:
            packets += video.encode(None)
        if not packets:
            file.start_encoding()
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            file.mux(packet)

    return _write(container, container_options, False, mux)


def _packets(track: SoundTrack, stream: AudioStream) -> list[Any]:
    packets: list[Any] = []
    resampler = av.AudioResampler(stream.codec_context.format, "mono", SAMPLE_RATE)
    size = stream.codec_context.frame_size or _SAMPLES_PER_PACKET
    for start in range(0, len(track.sound), size):
        frame = av.AudioFrame.from_ndarray(track.sound[None, start : start + size], "flt", "mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        for converted in resampler.resample(frame):
            packets += stream.encode(converted)
    packets += stream.encode(None) if len(track.sound) else []
    for packet in packets:
        time_s = float(packet.pts * packet.time_base)
        shift_s = track.start_s + sum(gap_s for after_s, gap_s in track.gaps_s.items() if time_s >= after_s)
        packet.pts += round(shift_s / packet.time_base)
        packet.dts = packet.pts
    return packets


def with_unknown_cluster_sizes(webm: Media) -> Media:
    """Return a WebM whose clusters have no size, as browsers write them; the size takes as many bytes as before."""
    content = bytearray(webm.tobytes())
    position = content.find(_CLUSTER)
    while position >= 0:
        size_bytes = 9 - content[position + 4].bit_length()
        unknown = (1 << 7 * size_bytes) - 1 | 1 << 7 * size_bytes
        content[position + 4 : position + 4 + size_bytes] = unknown.to_bytes(size_bytes, "big")
        position = content.find(_CLUSTER, position + 4)
    return as_media(content)


def wav(sound: Waveform, sample_rate: int = SAMPLE_RATE) -> Media:
    return encode(sound[None], sample_rate, "wav", "pcm_s16le")


def wav_by_hand(
    channels: Channels, sample_rate: int, *, mask: int | None = None, data_bytes: int | None = None
) -> bytes:
    """Return a 16-bit WAV, written without libav, which cannot write such headers.

    With `mask` its format is WAVE_FORMAT_EXTENSIBLE with this channel mask (0: unspecified). `data_bytes` is the size
    that its header declares, true or not.
    """
    samples = np.round(channels.T * 32767).astype("<i2").tobytes()
    block = 2 * len(channels)
    tag = 1 if mask is None else 0xFFFE
    format_chunk = struct.pack("<HHIIHH", tag, len(channels), sample_rate, sample_rate * block, block, 16)
    if mask is not None:
        pcm = bytes.fromhex("0100000000001000800000aa00389b71")
        format_chunk += struct.pack("<HHI", 22, 16, mask) + pcm

    def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
        return name + struct.pack("<I", len(content) if size is None else size) + content

    file_bytes = None if data_bytes is None else min(data_bytes + 36, 0xFFFFFFFF)
    return chunk(b"RIFF", b"WAVE" + chunk(b"fmt ", format_chunk) + chunk(b"data", samples, data_bytes), file_bytes)


def id3_tag(num_bytes: int) -> bytes:
    """Return an ID3v2 tag with a cover picture of that size, whose bytes look like the starts of MP3 frames."""
    picture = b"\x00image/jpeg\x00\x03\x00" + b"\xff\xd8\xff\xfb\x90\x64" * (num_bytes // 6)
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\x00\x00" + picture
    return b"ID3\x03\x00\x00" + bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0)) + frame


class _Pipe(io.RawIOBase):
    """A file that cannot seek, such as a stream from a recorder."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.content += content
        return len(content)


def _write(
    container: str, options: Mapping[str, str] | None, is_streamed: bool, mux: Callable[[OutputContainer], None]
) -> Media:
    pipe = _Pipe()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "media"
        with av.open(pipe if is_streamed else str(path), "w", container, options=dict(options or {})) as file:
            mux(file)
        return as_media(pipe.content if is_streamed else path.read_bytes())


def _mux_sound(file: OutputContainer, stream: AudioStream, channels: Channels, sample_rate: int) -> None:
    layout = LAYOUTS[len(channels)]
    resampler = av.AudioResampler(stream.codec_context.format, layout, sample_rate)
    interleaved = np.ascontiguousarray(channels.T)
    for start in range(0, len(interleaved), _SAMPLES_PER_PACKET):
        piece = interleaved[start : start + _SAMPLES_PER_PACKET].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, "flt", layout)
        frame.sample_rate, frame.pts = sample_rate, start
        for converted in resampler.resample(frame):
            file.mux(stream.encode(converted))
    for converted in resampler.resample(None):
        file.mux(stream.encode(converted))
    file.mux(stream.encode(None))
