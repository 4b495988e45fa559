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
from deployments.errors import FileTooLarge, InvalidFile, InvalidRequest
from deployments.media import READ_BUFFER_BYTES, Media, MediaReader
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.mixdown import Samples, StereoMixer
from deployments.transcriber.track_decoder import CONVERT_ADVICE, DeclaredSize, TrackDecoder, refuse
from deployments.transcriber.types import AudioTrack

if TYPE_CHECKING:
    from deployments.sandbox import Sandbox

_MAX_TEXT_CHARS = 100
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
    tracks: list[AudioTrack]
    track: int


@dataclass(frozen=True)
class DecodedAudio:
    waveform: Waveform
    start_s: float
    """When the first sample is heard, on the container's presentation clock, which its pictures share."""
    warnings: list[str]
    """Sentences for the client about audio that is missing from `waveform`; empty for an intact file."""
    tracks: list[AudioTrack]
    """The file's."""
    track: int
    """The number of the decoded one."""

    @property
    def end_s(self) -> float:
        """When the sound ends, on the same clock."""
        return self.start_s + len(self.waveform) / SAMPLE_RATE


def decode_audio(
    media: Media,
    cancellation: Cancellation,
    max_duration_s: float,
    sandbox: "Sandbox | None" = None,
    track: int | None = None,
) -> DecodedAudio:
    """Return the audio of a media file, mixed down to mono; empty if its track has no samples.

    Samples are converted to 16 bits on the way, as in `whisper.load_audio`: for 16 bits FFmpeg scales the mixdown so
    that it cannot clip. Encoder delay and padding are removed where the file declares them. Of several audio tracks,
    the one with the number `track` is used (from 1); without it, the first default one that can be decoded, else the
    first that can.

    A truncated file gives the audio up to its end. Damaged audio is replaced by silence of the duration that the
    timestamps indicate, so that the audio after it keeps its time. `warnings` reports both.

    Decoding happens in `sandbox` if one is given, else in this process. Raises InvalidFile if no audio can be decoded,
    InvalidRequest if there is no track of that number, and FileTooLarge if the audio is longer than `max_duration_s`;
    never more than that is in memory. The decoder's own error messages go to the log.
    """
    check_claims(media.data)
    declared = DeclaredSize.of(media)
    if sandbox is None:
        values = decode_chunks(MediaReader(media), declared, max_duration_s, track, cancellation)
    else:
        values = sandbox.run("decode_chunks", media, declared, max_duration_s, track, cancellation=cancellation)
    # Two hours take 461 MB, too much for a second copy: a bytearray grows in place, and the waveform is a view of it.
    samples = bytearray()
    max_bytes = int(max_duration_s * SAMPLE_RATE) * _BYTES_PER_SAMPLE
    with closing(values):
        for value in values:
            if isinstance(value, TrackSummary):
                waveform = np.frombuffer(samples, np.float32)
                return DecodedAudio(waveform, value.start_s, value.warnings, value.tracks, value.track)
            samples += (value * _INT16_SCALE).tobytes()
            if len(samples) > max_bytes:
                raise FileTooLarge(
                    f"The audio is longer than {max_duration_s:g} seconds, the limit for one request. "
                    "Send it in shorter parts, or raise transcriber.max_duration_s in the server's settings."
                )
    raise AssertionError("The last value is a TrackSummary.")


def decode_chunks(
    file: io.RawIOBase, declared: DeclaredSize, max_gap_s: float, track_number: int | None, cancellation: Cancellation
) -> Generator[Samples | TrackSummary, None, None]:
    """Yield the mono audio of a file in chunks at SAMPLE_RATE, then a summary.

    A gap in the timestamps of more than `max_gap_s` seconds is taken for an error in them. Raises InvalidFile,
    InvalidRequest if there is no track `track_number`, and what `cancellation.check` raises.
    """
    num_tracks = 1
    index = 0
    has_packets = is_decodable = False
    while index < num_tracks:
        with _open(file) as container:
            of_file = _audio_streams(container)
            streams = _in_order_of_trial(of_file, track_number)
            num_tracks = len(streams)
            track = TrackDecoder(container, streams[index], declared, max_gap_s)
            tracks = [_describe(number, stream) for number, stream in enumerate(of_file, 1)]
            number = of_file.index(streams[index]) + 1
            yield from track.decode(cancellation)
        if track.num_samples:
            yield TrackSummary(track.start_s, track.warnings(), tracks, number)
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
    yield TrackSummary(0.0, [], tracks, number)


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


def _audio_streams(container: InputContainer) -> list[AudioStream]:
    streams = [stream for stream in container.streams if isinstance(stream, AudioStream)]
    if not streams:
        raise InvalidFile("The file has no audio track. Send a file that has one.")
    return streams[:_MAX_TRACKS]


def _in_order_of_trial(streams: list[AudioStream], track_number: int | None) -> list[AudioStream]:
    """Return the streams that may be used, in the order in which they are tried."""
    if track_number is None:
        return sorted(streams, key=lambda stream: not stream.disposition & Disposition.default)
    if track_number > len(streams):
        raise InvalidRequest(
            f"The file has no sound track {track_number}; it has {len(streams)}, counted from 1. Choose one of them."
        )
    return [streams[track_number - 1]]


def _describe(number: int, stream: AudioStream) -> AudioTrack:
    codec = stream.codec_context
    return AudioTrack(
        number,
        _plain(stream.metadata.get("language", "")),
        _plain(stream.metadata.get("title", "")),
        codec.name if codec else "",
        codec.channels if codec else 0,
        bool(stream.disposition & Disposition.default),
    )


def _plain(text: str) -> str:
    """Return a text of a file, shortened and without control characters."""
    return "".join(letter for letter in text if letter.isprintable())[:_MAX_TEXT_CHARS]
