"""Writes pictures and speech to media files, with the same bytes each time."""

import subprocess
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CONTAINER_OPTIONS = {
    "fflags": "+bitexact",  # no dates, versions or random serial numbers
    "avoid_negative_ts": "disabled",  # else an AVI's frames are shifted by the MP3 encoder's delay
}


_VIDEO_OPTIONS = {
    "libx264": {"crf": "26", "preset": "veryslow", "mbtree": "0"},  # with mbtree, x264's output differs from run to run
    "mpeg4": {"qscale": "5", "g": "30"},
    "libvpx": {"crf": "20", "b": "200k"},
    **{codec: {"qscale": "5", "g": "15"} for codec in ("h263", "mpeg2video", "wmv2", "flv")},
}


@dataclass(frozen=True)
class Sound:
    samples: NDArray[np.int16]
    """Mono, shape (num_samples,)."""
    sample_rate: int


def speak(text: str, voice: str = "en-us", words_per_minute: int = 140) -> Sound:
    """Return speech made by espeak-ng, which must be installed (Debian: `apt-get install espeak-ng`)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-w", path, text], check=True)
        with wave.open(str(path)) as file:
            return Sound(np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate())


def silence(seconds: float, sample_rate: int) -> Sound:
    return Sound(np.zeros(round(seconds * sample_rate), np.int16), sample_rate)


def pad(sound: Sound, seconds: float) -> Sound:
    """Return `sound` followed by silence, `seconds` long in all; raises ValueError if it is longer."""
    missing = round(seconds * sound.sample_rate) - len(sound.samples)
    if missing < 0:
        raise ValueError(f"the sound is {-missing / sound.sample_rate:.2f} s longer than {seconds} s")
    return Sound(np.pad(sound.samples, (0, missing)), sound.sample_rate)


def delay(sound: Sound, seconds: float) -> Sound:
    """Return `sound` behind silence."""
    return Sound(np.pad(sound.samples, (round(seconds * sound.sample_rate), 0)), sound.sample_rate)


def concatenate(sounds: Sequence[Sound]) -> Sound:
    """Return sounds one after another; all have the same sample rate."""
    return Sound(np.concatenate([sound.samples for sound in sounds]), sounds[0].sample_rate)


def write_sound(
    path: Path,
    sound: Sound,
    codec: str,
    *,
    sample_rate: int = 16_000,
    bit_rate: int | None = None,
    is_live: bool = False,
) -> None:
    """Write one audio track; the path's suffix decides the container.

    With `is_live`, a WebM has no duration and no index, as browsers record it.
    """
    with av.open(path, "w", container_options=_container_options(path, is_live)) as output:
        layout, options = "mono", {"flags": "+bitexact"}
        if codec == "vorbis":  # PyAV's wheels have only FFmpeg's own encoder: stereo only, and marked experimental
            layout, options["strict"] = "stereo", "experimental"
        stream: Any = output.add_stream(codec, rate=sample_rate, layout=layout, options=options)
        if bit_rate:
            stream.bit_rate = bit_rate
        _mux_sound(output, stream, sound)


def write_clip(
    path: Path,
    scenes: Sequence[Image.Image],
    scene_s: float,
    *,
    sound: Sound | None = None,
    fps: int = 10,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    sample_rate: int = 16_000,
    is_live: bool = False,
) -> None:
    """Write a video that shows each scene for `scene_s` seconds; without `sound` it has no audio track.

    `is_live` is as in `write_sound`.
    """
    with av.open(path, "w", container_options=_container_options(path, is_live)) as output:
        options = {"threads": "1", "flags": "+bitexact", **_VIDEO_OPTIONS[video_codec]}
        video: Any = output.add_stream(video_codec, rate=fps, options=options)
        video.width, video.height = scenes[0].size
        video.pix_fmt = "yuv420p"
        audio: Any = None
        if sound:
            audio = output.add_stream(audio_codec, rate=sample_rate, layout="mono", options={"flags": "+bitexact"})
            audio.bit_rate = 32_000
        frames_per_scene = round(scene_s * fps)
        for index in range(len(scenes) * frames_per_scene):
            pixels = np.asarray(scenes[index // frames_per_scene].convert("RGB"))
            frame: Any = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound:
            _mux_sound(output, audio, sound)


def _container_options(path: Path, is_live: bool) -> dict[str, str]:
    options = dict(_CONTAINER_OPTIONS)
    if is_live:
        options["live"] = "1"
    if path.suffix == ".flv":  # it has no times before 0
        del options["avoid_negative_ts"]
    return options


def _mux_sound(output: Any, stream: Any, sound: Sound) -> None:
    frame: Any = av.AudioFrame.from_ndarray(sound.samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = sound.sample_rate, 0, Fraction(1, sound.sample_rate)
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
