"""Decodes the audio of any media file for Whisper, with libav: no ffmpeg binary is needed.

`decode_chunks` runs in a sandbox (see deployments/sandbox), and `decode_audio` collects what it yields.
"""

import io
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from deployments.cancellation import Cancellation
from deployments.container_limits import check_claims
from deployments.demuxers import SOUND_DEMUXERS
from deployments.errors import FileTooLarge, InvalidFile
from deployments.media import READ_BUFFER_BYTES, Media, MediaReader
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.mixdown import Samples, StereoMixer
from deployments.transcriber.track_decoder import CONVERT_ADVICE, DeclaredSize, TrackDecoder, refuse

if TYPE_CHECKING:
    from deployments.sandbox import Sandbox

_MAX_TRACKS = 16
"""Audio tracks that are tried; real files have one for each language."""

_INT16_SCALE = np.float32(1 / 32768)
"""Maps 16-bit samples to [-1, 1)."""
_BYTES_PER_SAMPLE = 4


@dataclass(frozen=True)
class TrackSummary:
    """The last value of `decode_chunks`."""

    start_s: float
    warnings: list[str]


@dataclass(frozen=True)
class DecodedAudio:
    waveform: Waveform
    start_s: float
    """When the first sample is heard, on the container's presentation clock, which its pictures share."""
    warnings: list[str]
    """Sentences for the client about audio that is missing from `waveform`; empty for an intact file."""


def decode_audio(
    media: Media, cancellation: Cancellation, max_duration_s: float, sandbox: "Sandbox | None" = None
) -> DecodedAudio:
    """Return the audio of a media file, mixed down to mono; empty if its track has no samples.

    Samples are converted to 16 bits on the way, as in `whisper.load_audio`: for 16 bits FFmpeg scales the mixdown so
    that it cannot clip. Encoder delay and padding are removed where the file declares them. Of several audio tracks,
    the first default one that can be decoded is used, else the first that can.

    A truncated file gives the audio up to its end. Damaged audio is replaced by silence of the duration that the
    timestamps indicate, so that the audio after it keeps its time. `warnings` reports both.

    Decoding happens in `sandbox` if one is given, else in this process. Raises InvalidFile if no audio can be decoded,
    and FileTooLarge if it is longer than `max_duration_s`; never more than that is in memory. The decoder's own error
    messages go to the log.
    """
    check_claims(media.data)
    declared = DeclaredSize.of(media)
    if sandbox is None:
        values = decode_chunks(MediaReader(media), declared, max_duration_s, cancellation)
    else:
        values = sandbox.run("decode_chunks", media, declared, max_duration_s, cancellation=cancellation)
    # Two hours take 461 MB, too much for a second copy: a bytearray grows in place, and the waveform is a view of it.
    samples = bytearray()
    max_bytes = int(max_duration_s * SAMPLE_RATE) * _BYTES_PER_SAMPLE
    with closing(values):
        for value in values:
            if isinstance(value, TrackSummary):
                return DecodedAudio(np.frombuffer(samples, np.float32), value.start_s, value.warnings)
            samples += (value * _INT16_SCALE).tobytes()
            if len(samples) > max_bytes:
                raise FileTooLarge(
                    f"The audio is longer than {max_duration_s:g} seconds, the limit for one request. "
                    "Send it in shorter parts, or raise transcriber.max_duration_s in the server's settings."
                )
    raise AssertionError("The last value is a TrackSummary.")


def decode_chunks(
    file: io.RawIOBase, declared: DeclaredSize, max_gap_s: float, cancellation: Cancellation
) -> Generator[Samples | TrackSummary, None, None]:
    """Yield the mono audio of a file in chunks at SAMPLE_RATE, then a summary.

    A gap in the timestamps of more than `max_gap_s` seconds is taken for an error in them. Raises InvalidFile and what
    `cancellation.check` raises.
    """
    num_tracks = 1
    index = 0
    has_packets = is_decodable = False
    while index < num_tracks:
        with _open(file) as container:
            streams = _streams_in_order(container)
            num_tracks = len(streams)
            track = TrackDecoder(container, streams[index], declared, max_gap_s)
            yield from track.decode(cancellation)
        if track.num_samples:
            yield TrackSummary(track.start_s, track.warnings())
            return
        if track.read_error is not None:
            refuse(track.read_error)
        has_packets |= track.has_packets
        is_decodable |= track.is_decodable
        index += 1
    if has_packets and not is_decodable:
        raise InvalidFile(f"The file's sound is in a format that cannot be decoded here. {CONVERT_ADVICE}")
    if has_packets or declared.is_truncated:
        raise InvalidFile(f"The file has an audio track, but none of it can be decoded. {CONVERT_ADVICE}")
    yield TrackSummary(0.0, [])


def warm_up() -> None:
    """Fill the tables of the usual codecs, so that processes forked from this one need not."""
    for name in ("aac", "mp3float", "flac", "opus", "vorbis", "alac"):
        codec = av.CodecContext.create(name, "r")
        codec.thread_count = 1
        with suppress(av.error.FFmpegError):  # Some need the header of a file; their tables are filled before.
            codec.open()
    next(StereoMixer().flush(), None)


def _open(file: io.RawIOBase) -> InputContainer:
    file.seek(0)
    try:
        return av.open(
            file,
            "r",
            options={"format_whitelist": ",".join(SOUND_DEMUXERS)},
            metadata_errors="replace",
            buffer_size=READ_BUFFER_BYTES,
        )
    except (av.error.FFmpegError, MemoryError) as error:
        refuse(error)


def _streams_in_order(container: InputContainer) -> list[AudioStream]:
    """Return the audio streams in the order in which they are tried."""
    streams = [stream for stream in container.streams if isinstance(stream, AudioStream)]
    if not streams:
        raise InvalidFile("The file has no audio track. Send a file that has one.")
    return sorted(streams, key=lambda stream: not stream.disposition & Disposition.default)[:_MAX_TRACKS]
