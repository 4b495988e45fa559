"""Decodes the audio of any media file for Whisper, with libav: no ffmpeg binary is needed.

`decode_chunks` runs in a sandbox (see deployments/sandbox), and `decode_audio` collects what it yields.
"""

import io
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from numpy.typing import NDArray

from deployments.cancellation import Cancellation
from deployments.container_limits import check_claims
from deployments.containers import avi_declared_s, declared_bytes, mp3_declared_s, mp3_frame_bytes
from deployments.errors import FileTooLarge, InvalidFile
from deployments.log import logger
from deployments.media import READ_BUFFER_BYTES, Media, MediaReader
from deployments.transcriber.mixdown import BLOCK_SAMPLES, Samples, StereoMixer

if TYPE_CHECKING:
    from deployments.sandbox import Sandbox

SAMPLE_RATE = 16_000
"""Hz; what Whisper was trained on."""

Waveform = NDArray[np.float32]
"""Mono audio at SAMPLE_RATE, shape (num_samples,), float32 in [-1, 1]."""

SILENCE_PEAK = 10 ** (-70 / 20)
"""-70 dBFS, or 10 steps of 16-bit audio: above dither and codec noise, below the noise of a quiet room."""

_FORMATS = "mp3,wav,w64,flac,ogg,aac,mov,matroska,avi"
"""libav's demuxers; `mov` also reads MP4 and M4A. No others, because playlist formats would open other files and
addresses."""
_MOV_FORMAT = "mov,mp4,m4a,3gp,3g2,mj2"
"""The name of a file's format in libav, if the demuxer is `mov`."""
_MATROSKA_FORMAT = "matroska,webm"
_CLOCKED_FORMATS = (_MOV_FORMAT, _MATROSKA_FORMAT, "avi", "ogg")
"""Formats whose timestamps are a clock that several tracks share, so that sound may begin late. Other formats hold
nothing but sound, which begins at 0, whatever the timestamps are."""
_MAX_TRACKS = 16
"""Audio tracks that are tried; real files have one for each language."""

_SAMPLE_RATES = range(1_000, 768_001)
"""Hz. No real recording is outside; one frame of a file that claims 1 Hz would be resampled to gigabytes."""

_INT16_SCALE = np.float32(1 / 32768)
"""Maps 16-bit samples to [-1, 1)."""
_BYTES_PER_SAMPLE = 4

_MIN_GAP_S = 0.05
"""A gap this long between the timestamps of two frames means that audio is missing. Shorter ones are normal: timestamps
of live recordings in browsers are some milliseconds off."""
_MAX_DRIFT_S = 0.1
"""If shorter gaps add up to more than this, silence is inserted too. It is not reported: the clocks of a recorder and
of its sound card differ a little."""
_TIMESTAMP_ROUNDING_S = 0.001
"""Matroska rounds timestamps to milliseconds, so that the first may be just before 0."""
_MAX_START_S = 1e6
"""A later start, after 11 days, is a wrong timestamp."""

_DURATION_TOLERANCE_S = 0.5
"""The audio may be this much shorter than its declared duration without a warning: the declared duration can include
encoder padding (up to 0.2 s at 8 kHz), and recorders round it."""

_CONVERT_ADVICE = "Convert it to WAV, MP3, M4A, FLAC or OGG and send it again."


@dataclass(frozen=True)
class DeclaredSize:
    """What a file declares about itself; read from all of its bytes, before libav opens it."""

    is_truncated: bool
    """Whether the file is shorter than its headers say."""
    num_bytes: int
    mp3_s: float | None
    avi_s: float | None

    @classmethod
    def of(cls, media: Media) -> Self:
        content = media.data
        num_bytes = declared_bytes(content)
        return cls(num_bytes > len(media), num_bytes, mp3_declared_s(content), avi_declared_s(content))


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


def is_silent(waveform: Waveform) -> bool:
    """Return whether no sample is louder than SILENCE_PEAK, apart from a constant (DC) offset."""
    return not waveform.size or bool(np.ptp(waveform) < 2 * SILENCE_PEAK)


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
            track = _Track(container, streams[index], declared, max_gap_s)
            yield from track.decode(cancellation)
        if track.num_samples:
            yield TrackSummary(track.start_s, track.warnings())
            return
        if track.read_error is not None:
            _refuse(track.read_error)
        has_packets |= track.has_packets
        is_decodable |= track.is_decodable
        index += 1
    if has_packets and not is_decodable:
        raise InvalidFile(f"The file's sound is in a format that cannot be decoded here. {_CONVERT_ADVICE}")
    if has_packets or declared.is_truncated:
        raise InvalidFile(f"The file has an audio track, but none of it can be decoded. {_CONVERT_ADVICE}")
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
            options={"format_whitelist": _FORMATS},
            metadata_errors="replace",
            buffer_size=READ_BUFFER_BYTES,
        )
    except (av.error.FFmpegError, MemoryError) as error:
        _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    logger.warning("Audio decoding failed: %s", error)
    raise InvalidFile(
        f"The file's audio cannot be decoded: it is damaged, incomplete or unsupported. {_CONVERT_ADVICE}"
    ) from error


def _streams_in_order(container: InputContainer) -> list[AudioStream]:
    """Return the audio streams in the order in which they are tried."""
    streams = [stream for stream in container.streams if isinstance(stream, AudioStream)]
    if not streams:
        raise InvalidFile("The file has no audio track. Send a file that has one.")
    return sorted(streams, key=lambda stream: not stream.disposition & Disposition.default)[:_MAX_TRACKS]


@dataclass
class _LostAudio:
    """Audio that was lost while decoding a file."""

    num_packets: int = 0
    """Packets that could not be decoded."""
    silence_s: float = 0
    """Silence that was inserted for lost audio."""
    is_truncated: bool = False


class _Track:
    """Decodes one audio track."""

    start_s = 0.0
    """When the first sample is heard, on the container's clock."""
    num_samples = 0
    """Samples decoded so far, at SAMPLE_RATE."""
    has_packets = False
    read_error: av.error.FFmpegError | None = None
    """Why the rest of the file could not be read."""

    def __init__(
        self, container: InputContainer, stream: AudioStream, declared: DeclaredSize, max_gap_s: float
    ) -> None:
        self._container = container
        self._stream = stream
        self._declared = declared
        self._max_gap_s = max_gap_s
        self.lost = _LostAudio(is_truncated=declared.is_truncated)
        self._declared_s = _declared_s(container, stream, declared)
        self._container_format = container.format.name
        self._offset_s = 0.0
        """What to add to a timestamp to get the time on the clock of `_end_s`."""
        self._end_s: float | None = None
        """End of the audio so far, on the container's clock. None before the first timestamp."""
        self._last_timestamp_s = 0.0
        self._last_end_s = 0.0
        """End of the last frame by its own timestamp."""
        self._num_skipped = 0
        """Samples at SAMPLE_RATE that are still to be dropped, because they are before time 0."""
        # PyAV's stream has no codec context, in spite of its type, if libav has no decoder.
        self.is_decodable = bool(stream.codec_context)
        if self.is_decodable and stream.codec_context.name == "flac":
            # Otherwise a damaged frame would be decoded to noise.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all

    def decode(self, cancellation: Cancellation) -> Iterator[Samples]:
        """Yield the audio in chunks of some seconds.

        Skips packets that cannot be decoded, and records them in `lost`.
        """
        for samples in self._joined(self._decode(cancellation)):
            dropped = min(self._num_skipped, len(samples))
            self._num_skipped -= dropped
            if dropped < len(samples):
                self.num_samples += len(samples) - dropped
                yield samples[dropped:]

    def warnings(self) -> list[str]:
        duration_s = self.num_samples / SAMPLE_RATE
        declared_s = self._declared_s
        if declared_s is not None and self._container_format in (_MATROSKA_FORMAT, "avi"):
            declared_s -= self.start_s  # They declare when the last track ends.
        return _warnings(duration_s, declared_s, self.start_s, self.lost)

    def _decode(self, cancellation: Cancellation) -> Iterator[Samples]:
        is_mp3 = self._container_format == "mp3"
        num_failed = 0
        converter: _Converter | None = None
        input_format: tuple[object, ...] = ()
        for packet in self._packets(cancellation):
            if is_mp3 and packet.size:
                # The size of the last packet shows whether the file is truncated. Errors do not: the decoder fills up
                # a truncated frame, but fails on padding after the last frame.
                self.lost.is_truncated = (mp3_frame_bytes(bytes(packet)[:4]) or 0) > packet.size
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                if is_mp3 and mp3_declared_s(bytes(packet)) is not None:
                    continue  # The Xing header of the second part of a concatenated file: not audio.
                num_failed += 1
                last_error = error
                # If the first packets are lost, the silence starts at the time of the first one.
                if self._end_s is None and packet.pts is not None and packet.time_base is not None:
                    self._start_clock(float(packet.pts * packet.time_base))
                continue
            for frame in frames:
                gap_s = self._advance(frame, num_failed)
                # Concatenated files may change sample rate or channels midway, but a converter takes one input format.
                if gap_s or input_format != _format_of(frame):
                    if converter is not None:
                        yield from converter.flush()
                    yield from _silence(gap_s)
                    converter, input_format = _Converter(frame), _format_of(frame)
                assert converter is not None
                yield from converter.convert(frame)
                self.lost.num_packets += num_failed
                num_failed = 0
        if converter is not None:
            yield from converter.flush()
        if num_failed and not is_mp3:
            self.lost.num_packets += num_failed
            self.lost.is_truncated = True
        if self.lost.num_packets:
            logger.warning(
                "%d audio packets could not be decoded; the last error: %s", self.lost.num_packets, last_error
            )

    def _packets(self, cancellation: Cancellation) -> Iterator["Packet[AudioStream]"]:
        """Yield the packets up to the end of the file or its first unreadable part; none if there is no decoder."""
        try:
            for packet in self._container.demux(self._stream):
                cancellation.check(
                    f"{self.num_samples // SAMPLE_RATE} seconds of audio were decoded, none transcribed yet"
                )
                self.has_packets |= packet.size > 0
                if self.is_decodable:
                    yield packet
                elif self.has_packets:
                    return
        except av.error.FFmpegError as error:
            self.read_error = error
            self.lost.is_truncated = True

    @staticmethod
    def _joined(chunks: Iterator[Samples]) -> Iterator[Samples]:
        """Yield the same audio in longer chunks."""
        pending: list[Samples] = []
        num_pending = 0
        for chunk in chunks:
            pending.append(chunk)
            num_pending += len(chunk)
            if num_pending >= BLOCK_SAMPLES:
                yield np.concatenate(pending)
                pending, num_pending = [], 0
        if pending:
            yield np.concatenate(pending)

    def _start_clock(self, timestamp_s: float) -> None:
        """Set the times of the first sample, whose timestamp is given."""
        if self._container_format not in _CLOCKED_FORMATS or abs(timestamp_s) > _MAX_START_S:
            self._offset_s = -timestamp_s
        self._last_timestamp_s = self._last_end_s = timestamp_s
        self._end_s = timestamp_s + self._offset_s
        if abs(self._end_s) <= _TIMESTAMP_ROUNDING_S:
            self._end_s = 0.0
        self._num_skipped = round(max(0.0, -self._end_s) * SAMPLE_RATE)
        self.start_s = max(0.0, self._end_s)

    def _advance(self, frame: AudioFrame, num_failed: int) -> float:
        """Put a frame at the end of the audio so far; return the seconds of silence that are needed before it.

        `num_failed` is the number of packets that could not be decoded since the last frame.
        """
        if frame.sample_rate not in _SAMPLE_RATES:
            raise InvalidFile(f"The audio's sample rate, {frame.sample_rate} Hz, is not plausible. {_CONVERT_ADVICE}")
        duration_s = frame.samples / frame.sample_rate
        gap_s = 0.0
        if self._end_s is None:
            self._start_clock(frame.time or 0.0)
        assert self._end_s is not None
        if frame.time is not None:
            gap_s = frame.time + self._offset_s - self._end_s
            step_s = frame.time - self._last_end_s
            if frame.time < self._last_timestamp_s or gap_s > self._max_gap_s:
                # The second part of a concatenated file, or a wrong timestamp.
                self._offset_s -= gap_s
                gap_s = step_s = 0.0
            is_lost = step_s > (0 if num_failed else _MIN_GAP_S)
            if is_lost and abs(gap_s - step_s) <= _MAX_DRIFT_S:
                gap_s = step_s  # More exact where timestamps are rounded.
            if is_lost and gap_s > 0:
                self.lost.silence_s += gap_s
            elif gap_s <= _MAX_DRIFT_S:
                gap_s = 0.0
            self._last_timestamp_s, self._last_end_s = frame.time, frame.time + duration_s
        self._end_s += gap_s + duration_s
        return gap_s


class _Converter:
    """Converts frames of one format to mono at SAMPLE_RATE."""

    def __init__(self, frame: AudioFrame) -> None:
        is_mono = frame.layout.nb_channels == 1
        # libswresample mixes more than two channels down to two by the weights that it would use for one.
        self._resampler = AudioResampler("s16", "mono" if is_mono else "stereo", SAMPLE_RATE)
        self._mixer = None if is_mono else StereoMixer()

    def convert(self, frame: AudioFrame | None) -> Iterator[Samples]:
        """Yield what is ready after `frame`."""
        for resampled in self._resampler.resample(frame):
            samples = resampled.to_ndarray()[0]
            if self._mixer is None:
                yield samples
            else:
                yield from self._mixer.mix(samples.reshape(-1, 2))

    def flush(self) -> Iterator[Samples]:
        """Yield the rest."""
        yield from self.convert(None)
        if self._mixer is not None:
            yield from self._mixer.flush()


def _silence(duration_s: float) -> Iterator[Samples]:
    num_samples = round(duration_s * SAMPLE_RATE)
    for start in range(0, num_samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, num_samples - start), np.int16)


def _declared_s(container: InputContainer, stream: AudioStream, declared: DeclaredSize) -> float | None:
    """Return the duration that the file declares for its audio, or None if it declares none that can be trusted.

    It may include encoder padding. For a file that is known to be truncated, less exact figures are used too: the
    duration of the whole file, or its size divided by the bit rate.
    """
    format_name = container.format.name
    if format_name == "mp3":
        return declared.mp3_s
    if format_name in ("flac", _MOV_FORMAT) and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if not declared.is_truncated:
        return None
    if format_name == "wav" and stream.codec_context and stream.bit_rate:
        return declared.num_bytes * 8 / stream.bit_rate
    if format_name == "avi":
        return declared.avi_s
    is_matroska = format_name == _MATROSKA_FORMAT
    return container.duration / av.time_base if is_matroska and container.duration is not None else None


def _warnings(duration_s: float, declared_s: float | None, start_s: float, lost: _LostAudio) -> list[str]:
    warnings = []
    if lost.silence_s:
        warnings.append(
            f"{lost.silence_s:.2f} seconds of the sound are damaged or missing and were replaced by silence."
        )
    if lost.num_packets:
        warnings.append(f"Audio packets that could not be decoded and were left out: {lost.num_packets}.")
    is_short = declared_s is not None and declared_s - duration_s > _DURATION_TOLERANCE_S
    if lost.is_truncated or is_short:
        of_declared = f" of {start_s + declared_s:.1f}" if is_short and declared_s is not None else ""
        warnings.append(f"The file breaks off: its sound ends after {start_s + duration_s:.1f}{of_declared} seconds.")
    return warnings


def _format_of(frame: AudioFrame) -> tuple[object, ...]:
    return frame.format.name, frame.layout.name, frame.sample_rate
