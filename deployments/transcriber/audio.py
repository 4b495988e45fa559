"""Sound as Whisper hears it, out of any media file; decoded in process, no ffmpeg binary is needed."""

import logging
from collections.abc import Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from deployments.errors import FileTooLarge, InvalidFile
from deployments.media import Media, MediaReader
from deployments.work import Stop

SAMPLE_RATE = 16_000
"""Samples a second of everything Whisper was trained on."""

Waveform = NDArray[np.float32]
"""Mono sound, shape (num_samples,), float32 in [-1, 1], SAMPLE_RATE samples a second."""

SILENCE_PEAK = 10 ** (-70 / 20)
"""-70 dB of full scale, 10 steps of 16-bit sound: above dither and a codec's rounding, below a quiet room's noise."""

# Only containers that hold media themselves: FFmpeg also reads playlists, which name other files to open.
_CONTAINERS = "mp3,wav,w64,flac,ogg,aac,mov,matroska,avi"

# Hz. Outside lies no sound; one frame of a file that claims 1 Hz would be resampled to gigabytes.
_SAMPLE_RATES = range(1_000, 768_001)

_MEND = "Convert it to WAV, MP3, M4A, FLAC or OGG and send it again."

logger = logging.getLogger("ray.serve")


def decode_audio(media: Media, stop: Stop, max_duration_s: float) -> Waveform:
    """Return the sound of a media file, its channels mixed down to one.

    Samples pass through 16 bits, as in `whisper.load_audio`: that is where FFmpeg scales a mix of channels so that it
    cannot exceed full scale. Encoder delay and padding are cut off where the file tells them. Of several audio streams
    the one that a player would choose is taken. A file that breaks off gives the sound up to there.

    Raises InvalidFile if no sound can be decoded, FileTooLarge if it lasts longer than `max_duration_s`; at no time is
    more than that in memory. The decoder's own words go to the log.
    """
    samples = bytearray()
    max_samples = int(max_duration_s * SAMPLE_RATE)
    try:
        options = {"format_whitelist": _CONTAINERS}
        with av.open(MediaReader(media), "r", options=options, metadata_errors="replace") as file:
            for chunk in _decode(file, _choose_stream(file)):
                samples += chunk.tobytes()
                num_samples = len(samples) // 2
                stop.check(f"{num_samples // SAMPLE_RATE} seconds of audio were decoded, none transcribed yet")
                if num_samples > max_samples:
                    raise FileTooLarge(
                        f"The sound is longer than {max_duration_s:g} seconds, the most that is taken at once. "
                        "Send it in shorter parts, or raise transcriber.max_duration_s in the server's settings."
                    )
    except av.error.FFmpegError as error:
        logger.warning("audio broke off after %d samples: %s", len(samples) // 2, error)
        if not samples:
            raise InvalidFile(
                f"The file's sound cannot be decoded: it is damaged, incomplete or of an unknown kind. {_MEND}"
            ) from error
    if not samples:
        raise InvalidFile(f"The file has an audio track, but no sound in it can be decoded. {_MEND}")
    waveform = np.frombuffer(samples, np.int16).astype(np.float32)
    waveform /= 32768
    return waveform


def is_silent(waveform: Waveform) -> bool:
    """Tell whether all of it stays under SILENCE_PEAK; a constant offset does not count as sound."""
    return bool(np.ptp(waveform) < 2 * SILENCE_PEAK)


def _choose_stream(file: InputContainer) -> AudioStream:
    stream = file.streams.best("audio")
    if stream is None:
        raise InvalidFile("The file has no audio track. Send one with sound.")
    if not isinstance(stream, AudioStream):
        raise InvalidFile(f"The file's audio track is in a format that is not known here. {_MEND}")
    return stream


def _decode(file: InputContainer, stream: AudioStream) -> Iterator[NDArray[np.int16]]:
    """Yield the sound in chunks of shape (num_samples,); packets that cannot be decoded are left out."""
    num_left_out = 0
    resampler: AudioResampler | None = None
    source: tuple[object, ...] = ()
    for packet in file.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            num_left_out += 1
            last_error = error
            continue
        for frame in frames:
            # Joined files change rate or channels on the way; a resampler takes only what it began with.
            if resampler is None or source != _source(frame):
                if frame.sample_rate not in _SAMPLE_RATES:
                    raise InvalidFile(
                        f"The sound has {frame.sample_rate} samples a second, which no recording has. {_MEND}"
                    )
                yield from _resample(resampler, None)
                resampler, source = AudioResampler("s16", "mono", SAMPLE_RATE), _source(frame)
            yield from _resample(resampler, frame)
    yield from _resample(resampler, None)
    if num_left_out:
        logger.warning("%d audio packets were left out, the last for: %s", num_left_out, last_error)


def _source(frame: AudioFrame) -> tuple[object, ...]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resample(resampler: AudioResampler | None, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
    """Yield what `frame` completes; None for a frame yields what is left in the resampler."""
    if resampler is not None:
        for resampled in resampler.resample(frame):
            yield resampled.to_ndarray()[0]
