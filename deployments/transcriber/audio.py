"""Sound as Whisper hears it, out of any media file; decoded in process, no ffmpeg binary is needed."""

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
from deployments.containers import announced_bytes, avi_announced_s, mp3_announced_s, mp3_frame_bytes
from deployments.errors import FileTooLarge, InvalidFile
from deployments.log import logger
from deployments.media import Media, MediaReader

SAMPLE_RATE = 16_000
"""Samples a second of everything Whisper was trained on."""

Waveform = NDArray[np.float32]
"""Mono sound, shape (num_samples,), float32 in [-1, 1], SAMPLE_RATE samples a second."""

SILENCE_PEAK = 10 ** (-70 / 20)
"""-70 dB of full scale, 10 steps of 16-bit sound: above dither and a codec's rounding, below a quiet room's noise."""

# Only containers that hold media themselves: FFmpeg also reads playlists, which name other files to open.
_CONTAINERS = "mp3,wav,w64,flac,ogg,aac,mov,matroska,avi"
_MOV = "mov,mp4,m4a,3gp,3g2,mj2"

# Hz. Outside lies no sound; one frame of a file that claims 1 Hz would be resampled to gigabytes.
_SAMPLE_RATES = range(1_000, 768_001)

_FULL_SCALE = np.float32(1 / 32768)
_BYTES_PER_SAMPLE = 4

_MIN_GAP_S = 0.05
"""A jump in the times of what is decoded counts from here on as sound that is missing: browsers that record live write
times that are some milliseconds off."""

_PADDING_S = 0.5
"""So much of what a file announces may be missing without being told: encoders pad both ends, by up to 0.2 s at
8 kHz, and recorders round."""

_CONVERT_ADVICE = "Convert it to WAV, MP3, M4A, FLAC or OGG and send it again."


@dataclass(frozen=True)
class Recording:
    waveform: Waveform
    warnings: list[str]
    """What of the file is not in `waveform`, each a sentence for the client; empty for a whole file."""


def decode_audio(media: Media, cancellation: Cancellation, max_duration_s: float) -> Recording:
    """Return the sound of a media file, its channels mixed down to one.

    Samples pass through 16 bits, as in `whisper.load_audio`: that is where FFmpeg scales a mix of channels so that it
    cannot exceed full scale. Encoder delay and padding are cut off where the file tells them. Of several audio streams
    the one that a player would choose is taken. A file that breaks off gives the sound up to there; where a part within
    is damaged, silence stands in its place as far as the file's own times tell how long it was, so that what follows
    keeps its time. `warnings` tell of both.

    Raises InvalidFile if no sound can be decoded, FileTooLarge if it lasts longer than `max_duration_s`; at no time is
    more than that in memory. The decoder's own words go to the log.
    """
    # Two hours are 461 MB, too much for a second copy: a bytearray grows in place and becomes the waveform as it is.
    samples = bytearray()
    max_samples = int(max_duration_s * SAMPLE_RATE)
    is_cut_off = announced_bytes(media.data) > len(media)
    loss = _Loss(breaks_off=is_cut_off)
    announced_s = None
    try:
        options = {"format_whitelist": _CONTAINERS}
        with av.open(MediaReader(media), "r", options=options, metadata_errors="replace") as file:
            stream = _choose_stream(file)
            announced_s = _announced_s(media, file, stream, is_cut_off)
            for chunk in _decode(file, stream, max_duration_s, loss):
                samples += (chunk * _FULL_SCALE).tobytes()
                num_samples = len(samples) // _BYTES_PER_SAMPLE
                cancellation.check(f"{num_samples // SAMPLE_RATE} seconds of audio were decoded, none transcribed yet")
                if num_samples > max_samples:
                    raise FileTooLarge(
                        f"The sound is longer than {max_duration_s:g} seconds, the most that is taken at once. "
                        "Send it in shorter parts, or raise transcriber.max_duration_s in the server's settings."
                    )
    except av.error.FFmpegError as error:
        logger.warning("audio broke off after %d samples: %s", len(samples) // _BYTES_PER_SAMPLE, error)
        if not samples:
            raise InvalidFile(
                f"The file's sound cannot be decoded: it is damaged, incomplete or of unknown kind. {_CONVERT_ADVICE}"
            ) from error
        loss.breaks_off = True
    if not samples:
        raise InvalidFile(f"The file has an audio track, but no sound in it can be decoded. {_CONVERT_ADVICE}")
    waveform = np.frombuffer(samples, np.float32)
    return Recording(waveform, _warnings(len(waveform) / SAMPLE_RATE, announced_s, loss))


def is_silent(waveform: Waveform) -> bool:
    """Tell whether all of it stays under SILENCE_PEAK; a constant offset does not count as sound."""
    return bool(np.ptp(waveform) < 2 * SILENCE_PEAK)


def _choose_stream(file: InputContainer) -> AudioStream:
    stream = file.streams.best("audio")
    if stream is None:
        raise InvalidFile("The file has no audio track. Send one with sound.")
    if not isinstance(stream, AudioStream):
        raise InvalidFile(f"The file's audio track is in a format that is not known here. {_CONVERT_ADVICE}")
    if stream.codec_context.name == "flac":
        # Without, a damaged frame is decoded to noise.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


@dataclass
class _Loss:
    """What of a file's sound was lost while it was decoded."""

    num_packets: int = 0
    """Those that could not be decoded."""
    silence_s: float = 0
    """Of the silence that stands for what was lost."""
    breaks_off: bool = False


def _decode(
    file: InputContainer, stream: AudioStream, max_duration_s: float, loss: _Loss
) -> Iterator[NDArray[np.int16]]:
    """Yield the sound in chunks of shape (num_samples,); packets that cannot be decoded are left out, see `loss`."""
    is_mp3 = file.format.name == "mp3"
    num_failed = 0
    resampler: AudioResampler | None = None
    source: tuple[object, ...] = ()
    end_s: float | None = None
    for packet in file.demux(stream):
        if is_mp3 and packet.size:
            # Its decoder makes up what the last frame lacks, and fails at what follows it, such as zeros.
            loss.breaks_off = (mp3_frame_bytes(bytes(packet)[:4]) or 0) > packet.size
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            if is_mp3 and mp3_announced_s(bytes(packet)) is not None:
                continue  # A joined file has the header of its second part here, which is no sound.
            num_failed += 1
            last_error = error
            if end_s is None and packet.pts is not None and packet.time_base is not None:
                end_s = float(packet.pts * packet.time_base)
            continue
        for frame in frames:
            gap_s = 0.0 if frame.time is None or end_s is None else frame.time - end_s
            # Times may jitter by some milliseconds; a jump over more than any recording may last is a wrong time.
            if not (0 if num_failed else _MIN_GAP_S) < gap_s <= max_duration_s:
                gap_s = 0
            # Joined files change rate or channels on the way; a resampler takes only what it began with.
            if gap_s or source != _source(frame):
                if frame.sample_rate not in _SAMPLE_RATES:
                    raise InvalidFile(
                        f"The sound has {frame.sample_rate} samples a second, which no recording has. {_CONVERT_ADVICE}"
                    )
                yield from _resample(resampler, None)
                yield from _silence(gap_s)
                resampler, source = AudioResampler("s16", "mono", SAMPLE_RATE), _source(frame)
            yield from _resample(resampler, frame)
            start_s = end_s if frame.time is None else frame.time
            end_s = None if start_s is None else start_s + frame.samples / frame.sample_rate
            loss.num_packets += num_failed
            loss.silence_s += gap_s
            num_failed = 0
    yield from _resample(resampler, None)
    if num_failed and not is_mp3:
        loss.num_packets += num_failed
        loss.breaks_off = True
    if loss.num_packets:
        logger.warning("%d audio packets were left out, the last for: %s", loss.num_packets, last_error)


def _silence(duration_s: float) -> Iterator[NDArray[np.int16]]:
    num_samples = round(duration_s * SAMPLE_RATE)
    for start in range(0, num_samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, num_samples - start), np.int16)


def _announced_s(media: Media, file: InputContainer, stream: AudioStream, is_cut_off: bool) -> float | None:
    """Return how long the sound is by what the file says, or None where it says nothing that can be believed.

    That is its encoder's padding more than what there is to hear. What the whole file or its bytes tell is a worse
    measure, for a file that is known to be cut off.
    """
    container = file.format.name
    if container == "mp3":
        return mp3_announced_s(media.data)
    if container in ("flac", _MOV) and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if not is_cut_off:
        return None
    if container == "wav" and stream.bit_rate:
        return announced_bytes(media.data) * 8 / stream.bit_rate
    if container == "avi":
        return avi_announced_s(media.data)
    return file.duration / av.time_base if container == "matroska,webm" and file.duration is not None else None


def _warnings(duration_s: float, announced_s: float | None, loss: _Loss) -> list[str]:
    warnings = []
    if loss.silence_s:
        warnings.append(
            f"{loss.silence_s:.2f} seconds within the sound are damaged or missing; silence stands in their place."
        )
    if loss.num_packets:
        warnings.append(f"Packets of the sound that could not be decoded and were left out: {loss.num_packets}.")
    is_short = announced_s is not None and announced_s - duration_s > _PADDING_S
    if loss.breaks_off or is_short:
        of_all = f" of {announced_s:.1f}" if is_short else ""
        warnings.append(f"The file breaks off: its sound ends after {duration_s:.1f}{of_all} seconds.")
    return warnings


def _source(frame: AudioFrame) -> tuple[object, ...]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resample(resampler: AudioResampler | None, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
    """Yield what `frame` completes; None for a frame yields what is left in the resampler."""
    if resampler is not None:
        for resampled in resampler.resample(frame):
            yield resampled.to_ndarray()[0]
