"""Decodes the audio of any media file for Whisper, with libav in this process: no ffmpeg binary is needed."""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from deployments.cancellation import Cancellation
from deployments.containers import avi_declared_s, declared_bytes, mp3_declared_s, mp3_frame_bytes
from deployments.errors import FileTooLarge, InvalidFile
from deployments.log import logger
from deployments.media import Media, MediaReader

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

_SAMPLE_RATES = range(1_000, 768_001)
"""Hz. No real recording is outside; one frame of a file that claims 1 Hz would be resampled to gigabytes."""

_INT16_SCALE = np.float32(1 / 32768)
"""Maps 16-bit samples to [-1, 1)."""
_BYTES_PER_SAMPLE = 4

_MIN_GAP_S = 0.05
"""A gap this long between the timestamps of two frames means that audio is missing. Shorter ones are normal: timestamps
of live recordings in browsers are some milliseconds off."""

_DURATION_TOLERANCE_S = 0.5
"""The audio may be this much shorter than its declared duration without a warning: the declared duration can include
encoder padding (up to 0.2 s at 8 kHz), and recorders round it."""

_CONVERT_ADVICE = "Convert it to WAV, MP3, M4A, FLAC or OGG and send it again."


@dataclass(frozen=True)
class DecodedAudio:
    waveform: Waveform
    warnings: list[str]
    """Sentences for the client about audio that is missing from `waveform`; empty for an intact file."""


def decode_audio(media: Media, cancellation: Cancellation, max_duration_s: float) -> DecodedAudio:
    """Return the audio of a media file, mixed down to mono.

    Samples are converted to 16 bits on the way, as in `whisper.load_audio`: for 16 bits FFmpeg scales the mixdown so
    that it cannot clip. Encoder delay and padding are removed where the file declares them. Of several audio streams,
    the one that a player would choose is used.

    A truncated file gives the audio up to its end. Damaged audio is replaced by silence of the duration that the
    timestamps indicate, so that the audio after it keeps its time. `warnings` reports both.

    Raises InvalidFile if no audio can be decoded, and FileTooLarge if it is longer than `max_duration_s`; never more
    than that is in memory. The decoder's own error messages go to the log.
    """
    # Two hours take 461 MB, too much for a second copy: a bytearray grows in place, and the waveform is a view of it.
    samples = bytearray()
    max_samples = int(max_duration_s * SAMPLE_RATE)
    is_truncated = declared_bytes(media.data) > len(media)
    lost = _LostAudio(is_truncated=is_truncated)
    declared_s = None
    try:
        options = {"format_whitelist": _FORMATS}
        with av.open(MediaReader(media), "r", options=options, metadata_errors="replace") as file:
            stream = _choose_stream(file)
            declared_s = _declared_s(media, file, stream, is_truncated)
            for chunk in _decode(file, stream, max_duration_s, lost):
                samples += (chunk * _INT16_SCALE).tobytes()
                num_samples = len(samples) // _BYTES_PER_SAMPLE
                cancellation.check(f"{num_samples // SAMPLE_RATE} seconds of audio were decoded, none transcribed yet")
                if num_samples > max_samples:
                    raise FileTooLarge(
                        f"The audio is longer than {max_duration_s:g} seconds, the limit for one request. "
                        "Send it in shorter parts, or raise transcriber.max_duration_s in the server's settings."
                    )
    except av.error.FFmpegError as error:
        logger.warning("Audio decoding stopped after %d samples: %s", len(samples) // _BYTES_PER_SAMPLE, error)
        if not samples:
            raise InvalidFile(
                f"The file's audio cannot be decoded: it is damaged, incomplete or unsupported. {_CONVERT_ADVICE}"
            ) from error
        lost.is_truncated = True
    if not samples:
        raise InvalidFile(f"The file has an audio track, but none of it can be decoded. {_CONVERT_ADVICE}")
    waveform = np.frombuffer(samples, np.float32)
    return DecodedAudio(waveform, _warnings(len(waveform) / SAMPLE_RATE, declared_s, lost))


def is_silent(waveform: Waveform) -> bool:
    """Return whether no sample is louder than SILENCE_PEAK, apart from a constant (DC) offset."""
    return bool(np.ptp(waveform) < 2 * SILENCE_PEAK)


def _choose_stream(file: InputContainer) -> AudioStream:
    stream = file.streams.best("audio")
    if stream is None:
        raise InvalidFile("The file has no audio track. Send a file that has one.")
    if not isinstance(stream, AudioStream):
        raise InvalidFile(f"The file's audio track is in an unknown format. {_CONVERT_ADVICE}")
    if stream.codec_context.name == "flac":
        # Otherwise a damaged frame would be decoded to noise.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


@dataclass
class _LostAudio:
    """Audio that was lost while decoding a file."""

    num_packets: int = 0
    """Packets that could not be decoded."""
    silence_s: float = 0
    """Silence that was inserted for lost audio."""
    is_truncated: bool = False


def _decode(
    file: InputContainer, stream: AudioStream, max_duration_s: float, lost: _LostAudio
) -> Iterator[NDArray[np.int16]]:
    """Yield the audio in chunks of shape (num_samples,).

    Skips packets that cannot be decoded, and records them in `lost`.
    """
    is_mp3 = file.format.name == "mp3"
    num_failed = 0
    resampler: AudioResampler | None = None
    input_format: tuple[object, ...] = ()
    end_s: float | None = None
    for packet in file.demux(stream):
        if is_mp3 and packet.size:
            # The size of the last packet shows whether the file is truncated. Errors do not: the decoder fills up a
            # truncated frame, but fails on padding after the last frame.
            lost.is_truncated = (mp3_frame_bytes(bytes(packet)[:4]) or 0) > packet.size
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            if is_mp3 and mp3_declared_s(bytes(packet)) is not None:
                continue  # The Xing header of the second part of a concatenated file: not audio.
            num_failed += 1
            last_error = error
            # If the first packets are lost, the silence starts at the time of the first one.
            if end_s is None and packet.pts is not None and packet.time_base is not None:
                end_s = float(packet.pts * packet.time_base)
            continue
        for frame in frames:
            gap_s = 0.0 if frame.time is None or end_s is None else frame.time - end_s
            # A gap longer than any accepted recording is a wrong timestamp.
            if not (0 if num_failed else _MIN_GAP_S) < gap_s <= max_duration_s:
                gap_s = 0
            # Concatenated files may change sample rate or channels midway, but a resampler takes one input format.
            if gap_s or input_format != _format_of(frame):
                if frame.sample_rate not in _SAMPLE_RATES:
                    raise InvalidFile(
                        f"The audio's sample rate, {frame.sample_rate} Hz, is not plausible. {_CONVERT_ADVICE}"
                    )
                yield from _resample(resampler, None)
                yield from _silence(gap_s)
                resampler, input_format = AudioResampler("s16", "mono", SAMPLE_RATE), _format_of(frame)
            yield from _resample(resampler, frame)
            start_s = end_s if frame.time is None else frame.time
            end_s = None if start_s is None else start_s + frame.samples / frame.sample_rate
            lost.num_packets += num_failed
            lost.silence_s += gap_s
            num_failed = 0
    yield from _resample(resampler, None)
    if num_failed and not is_mp3:
        lost.num_packets += num_failed
        lost.is_truncated = True
    if lost.num_packets:
        logger.warning("%d audio packets could not be decoded; the last error: %s", lost.num_packets, last_error)


def _silence(duration_s: float) -> Iterator[NDArray[np.int16]]:
    num_samples = round(duration_s * SAMPLE_RATE)
    for start in range(0, num_samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, num_samples - start), np.int16)


def _declared_s(media: Media, file: InputContainer, stream: AudioStream, is_truncated: bool) -> float | None:
    """Return the duration that the file declares for its audio, or None if it declares none that can be trusted.

    It may include encoder padding. For a file that is known to be truncated, less exact figures are used too: the
    duration of the whole file, or its size divided by the bit rate.
    """
    format_name = file.format.name
    if format_name == "mp3":
        return mp3_declared_s(media.data)
    if format_name in ("flac", _MOV_FORMAT) and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if not is_truncated:
        return None
    if format_name == "wav" and stream.bit_rate:
        return declared_bytes(media.data) * 8 / stream.bit_rate
    if format_name == "avi":
        return avi_declared_s(media.data)
    return file.duration / av.time_base if format_name == "matroska,webm" and file.duration is not None else None


def _warnings(duration_s: float, declared_s: float | None, lost: _LostAudio) -> list[str]:
    warnings = []
    if lost.silence_s:
        warnings.append(
            f"{lost.silence_s:.2f} seconds of the sound are damaged or missing and were replaced by silence."
        )
    if lost.num_packets:
        warnings.append(f"Audio packets that could not be decoded and were left out: {lost.num_packets}.")
    is_short = declared_s is not None and declared_s - duration_s > _DURATION_TOLERANCE_S
    if lost.is_truncated or is_short:
        of_declared = f" of {declared_s:.1f}" if is_short else ""
        warnings.append(f"The file breaks off: its sound ends after {duration_s:.1f}{of_declared} seconds.")
    return warnings


def _format_of(frame: AudioFrame) -> tuple[object, ...]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resample(resampler: AudioResampler | None, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
    """Yield the resampled chunks that are ready after `frame`; None flushes the resampler."""
    if resampler is not None:
        for resampled in resampler.resample(frame):
            yield resampled.to_ndarray()[0]
