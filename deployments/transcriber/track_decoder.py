"""Decodes one sound track of a file: its clock, its gaps, and what of it is lost."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from numpy.typing import NDArray

from deployments import asf
from deployments.cancellation import Cancellation
from deployments.containers import (
    LateStart,
    avi_declared_s,
    declared_bytes,
    mp3_declared_s,
    mp3_frame_bytes,
    ogg_flac_start,
)
from deployments.demuxers import AVI, CLOCKED_FORMATS, MATROSKA, MAX_START_S, MOV, clock_start_s
from deployments.errors import InvalidFile
from deployments.log import logger
from deployments.media import Media
from deployments.transcriber.audio import SAMPLE_RATE
from deployments.transcriber.mixdown import BLOCK_SAMPLES, Samples, StereoMixer, StereoSamples

_SAMPLE_RATES = range(1_000, 768_001)
"""Hz. No real recording is outside; one frame of a file that claims 1 Hz would be resampled to gigabytes."""

_MIN_GAP_S = 0.05
"""A gap this long between the timestamps of two frames means that audio is missing. Shorter ones are normal: timestamps
of live recordings in browsers are some milliseconds off."""
_MAX_DRIFT_S = 0.1
"""If shorter gaps add up to more than this, silence is inserted too. It is not reported: the clocks of a recorder and
of its sound card differ a little."""
_TIMESTAMP_ROUNDING_S = 0.001
"""Matroska rounds timestamps to milliseconds, so that the first may be just before 0."""
_MAX_DELAYED_PACKETS = 8
"""A decoder may return a frame when it has got this many packets after the frame's own."""

_DURATION_TOLERANCE_S = 0.5
"""The audio may be this much shorter than its declared duration without a warning: the declared duration can include
encoder padding (up to 0.2 s at 8 kHz), and recorders round it."""

_AMR_PAUSES = {"amrnb": (8, 15), "amrwb": (9, 15)}
"""Types of frames that stand for a pause, in which a phone sends no sound (3GPP TS 26.101 and 26.201, table 1a). libav
decodes none of them."""

CONVERT_ADVICE = "Convert it to WAV, MP3, M4A, FLAC or OGG and send it again."


@dataclass(frozen=True)
class DeclaredSize:
    """What a file declares about itself; read from all of its bytes, before libav opens it."""

    is_truncated: bool
    """Whether the file is shorter than its headers say."""
    num_bytes: int
    mp3_s: float | None
    avi_s: float | None
    asf_s: float | None
    ogg_flac_start: LateStart | None

    @classmethod
    def of(cls, media: Media) -> Self:
        content = media.data
        num_bytes = declared_bytes(content)
        return cls(
            num_bytes > len(media),
            num_bytes,
            mp3_declared_s(content),
            avi_declared_s(content),
            asf.declared_s(content) if content[:16] == asf.MAGIC else None,
            ogg_flac_start(content),
        )


@dataclass
class _LostAudio:
    """Audio that was lost while decoding a file."""

    num_packets: int = 0
    """Packets that could not be decoded."""
    silence_s: float = 0
    """Silence that was inserted for lost audio."""
    is_truncated: bool = False


class TrackDecoder:
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
        self._offset_s = -float(clock_start_s(container))
        """What to add to a timestamp to get the time on the clock of `_end_s`."""
        self._end_s: float | None = None
        """End of the audio so far, on the container's clock. None before the first timestamp."""
        self._last_timestamp_s = 0.0
        self._last_end_s = 0.0
        """End of the last frame by its own timestamp."""
        self._packet_ends_s: deque[float] = deque(maxlen=_MAX_DELAYED_PACKETS)
        """When the last packets end, by their timestamps and durations."""
        self._pauses = _AMR_PAUSES.get(stream.codec_context.name, ()) if stream.codec_context else ()
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
        if declared_s is not None and self._container_format in (MATROSKA, AVI, "asf"):
            declared_s -= self.start_s  # They declare when the last track ends.
        return _warnings(duration_s, declared_s, self.start_s, self.lost)

    def _decode(self, cancellation: Cancellation) -> Iterator[Samples]:
        is_mp3 = self._container_format == "mp3"
        num_failed = 0
        converter: _Converter | None = None
        input_format: tuple[object, ...] = ()
        for packet in self._packets(cancellation):
            if packet.pts is not None and packet.duration and packet.time_base is not None:
                self._packet_ends_s.append(float((packet.pts + packet.duration) * packet.time_base))
            if self._is_pause(packet):
                continue  # The next frame's time tells how long it was.
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
                self.has_packets |= packet.size > 0 and not self._is_pause(packet)
                if self.is_decodable:
                    self._correct_time(packet)
                    yield packet
                elif self.has_packets:
                    return
        except av.error.FFmpegError as error:
            self.read_error = error
            self.lost.is_truncated = True

    def _is_pause(self, packet: "Packet[AudioStream]") -> bool:
        return bool(self._pauses) and packet.size > 0 and bytes(packet)[0] >> 3 & 15 in self._pauses

    def _correct_time(self, packet: "Packet[AudioStream]") -> None:
        late = self._declared.ogg_flac_start
        if late is not None and packet.pts is not None and packet.pts < late.page_samples:
            packet.pts += late.start
            packet.dts = packet.pts

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
        if self._container_format not in CLOCKED_FORMATS or abs(timestamp_s) > MAX_START_S:
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
            raise InvalidFile(f"The audio's sample rate, {frame.sample_rate} Hz, is not plausible. {CONVERT_ADVICE}")
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
                if num_failed or not self._is_declared_end(frame.time):
                    self.lost.silence_s += gap_s
            elif gap_s <= _MAX_DRIFT_S:
                gap_s = 0.0
            self._last_timestamp_s, self._last_end_s = frame.time, frame.time + duration_s
        self._end_s += gap_s + duration_s
        return gap_s

    def _is_declared_end(self, time_s: float) -> bool:
        """Return whether a packet lasts until then, by its own duration.

        So an MP4 without an edit list lets sound begin late: its first packet lasts seconds, of which it fills
        milliseconds. The rest is silence, and none is missing.
        """
        return any(abs(end_s - time_s) <= _TIMESTAMP_ROUNDING_S for end_s in self._packet_ends_s)


class _Converter:
    """Converts frames of one format to mono at SAMPLE_RATE."""

    def __init__(self, frame: AudioFrame) -> None:
        is_mono = frame.layout.nb_channels == 1
        # libswresample mixes more than two channels down to two by the weights that it would use for one.
        self._resampler = AudioResampler("s16", "mono" if is_mono else "stereo", SAMPLE_RATE)
        self._num_channels = 1 if is_mono else 2
        """Of what the resampler returns."""
        self._mixer = None if is_mono else StereoMixer()

    def convert(self, frame: AudioFrame | None) -> Iterator[Samples]:
        """Yield what is ready after `frame`. Raises InvalidFile if its format cannot be converted."""
        for resampled in self._resample(frame):
            samples = resampled.to_ndarray()[0]
            if self._mixer is None:
                yield samples
            else:
                yield from self._mixer.mix(_mixed_to_stereo(samples.reshape(-1, self._num_channels)))

    def flush(self) -> Iterator[Samples]:
        """Yield the rest."""
        yield from self.convert(None)
        if self._mixer is not None:
            yield from self._mixer.flush()

    def _resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        try:
            try:
                return self._resampler.resample(frame)
            except av.error.ArgumentError:
                if frame is None or self._num_channels != 2:
                    raise
                # libswresample has no weights for these channels: there are more than eight, or only such as hang from
                # the ceiling.
                self._resampler = AudioResampler("s16", None, SAMPLE_RATE)
                self._num_channels = frame.layout.nb_channels
                return self._resampler.resample(frame)
        except av.error.FFmpegError as error:
            refuse(error)


def _mixed_to_stereo(samples: NDArray[np.int16]) -> StereoSamples:
    """Return the means of every second channel, of an array of shape (num_samples, num_channels)."""
    if samples.shape[1] == 2:
        return samples
    means = [samples[:, first::2].mean(axis=1) for first in (0, 1)]
    mixed: StereoSamples = np.rint(np.stack(means, axis=1)).astype(np.int16)
    return mixed


def refuse(error: Exception) -> NoReturn:
    """Raise InvalidFile for an error of libav, which goes to the log."""
    logger.warning("Audio decoding failed: %s", error)
    raise InvalidFile(
        f"The file's audio cannot be decoded: it is damaged, incomplete or unsupported. {CONVERT_ADVICE}"
    ) from error


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
    if format_name in ("flac", "aiff", MOV) and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if not declared.is_truncated:
        return None
    if format_name == "wav" and stream.codec_context and stream.bit_rate:
        return declared.num_bytes * 8 / stream.bit_rate
    if format_name == AVI:
        return declared.avi_s
    if format_name == "asf":
        return declared.asf_s
    is_matroska = format_name == MATROSKA
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
