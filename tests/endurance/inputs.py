"""New pictures, recordings and videos, each with what the miniatures say about it when they are right.

No two have the same pixels or samples, so that nothing is answered from a cache.
"""

import functools
import io
import random
import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from deployments.project import project_folder
from recipes import media
from recipes.media import Sound
from recipes.moondream_mini.captions_and_answers import normal_caption, short_caption, summary
from recipes.moondream_mini.questions import Question, random_question
from recipes.moondream_mini.world import Scene, draw_scene, random_image_size, random_scene
from recipes.samples import CLIP, SCENE_S
from tests.data.contents import SENTENCE
from tests.data.make_data import ROTATE_90_CLOCKWISE

SAMPLE_RATE = 16_000
NOISE_DB = (-75.0, -55.0)
"""Of full scale: the noise that makes each recording a new one."""
MAX_SHAPES = 3

_TESTS = Path(__file__).resolve().parent.parent
_PICTURE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 90},
    "WEBP": {"quality": 90, "method": 0},
    "BMP": {},
    "GIF": {},
}
_SOUND_CODECS = {
    "wav": ("pcm_s16le", None),
    "flac": ("flac", None),
    "mp3": ("libmp3lame", 48_000),
    "m4a": ("aac", 48_000),
    "ogg": ("libopus", 32_000),
}
_VIDEO_CODECS = {
    "avi": ("mpeg4", "libmp3lame"),
    "mkv": ("mpeg4", "aac"),
    "mp4": ("libx264", "aac"),
    "mov": ("mpeg4", "aac"),
}


@dataclass(frozen=True)
class Picture:
    content: bytes
    scene: Scene
    size: tuple[int, int]

    @property
    def caption(self) -> str:
        return normal_caption(self.scene)

    def question(self, rng: random.Random) -> Question:
        return random_question(self.scene, rng)


@dataclass(frozen=True)
class Recording:
    content: bytes
    text: str
    """Empty if nobody speaks."""
    seconds: float


@dataclass(frozen=True)
class Video:
    content: bytes
    captions: Sequence[str]
    """Of each scene."""
    scene_s: float
    text: str
    """What is said; empty if nothing is."""

    @property
    def summary(self) -> str:
        return summary(self.captions)


def new_picture(rng: random.Random, *, large: bool = False) -> Picture:
    """Return a picture of about 200 by 200 pixels, or a `large` one of 2 to 6 million pixels, in a random format."""
    scene = random_scene(rng, rng.randint(1, MAX_SHAPES))
    width, height = random_image_size(rng)
    image = draw_scene(scene, width, height, rng).image
    if large:
        factor = rng.uniform(1500, 2400) / max(width, height)
        image = image.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
    picture_format = rng.choice(("JPEG", "JPEG", "WEBP", "PNG") if large else tuple(_PICTURE_OPTIONS))
    return Picture(_encode_picture(image, picture_format, rng), scene, image.size)


class Inputs:
    """Makes recordings and videos from sentences that were synthesized before. Thread-safe."""

    def __init__(self) -> None:
        self._sentences = [(_read_wave(_TESTS / "data/speech.wav"), SENTENCE), *_sentences_of_the_clip()]

    def new_recording(self, rng: random.Random, *, num_sentences: int = 1) -> Recording:
        """Return sentences with pauses and a little noise, in a random format."""
        parts, texts = [_pause(rng)], []
        for samples, text in rng.sample(self._sentences, num_sentences):
            parts += [samples, _pause(rng)]
            texts.append(text)
        samples = _with_noise(np.concatenate(parts), rng)
        return Recording(_encode_sound(samples, rng), " ".join(texts), len(samples) / SAMPLE_RATE)

    def new_silence(self, rng: random.Random) -> Recording:
        """Return a second or so in which nobody speaks."""
        samples = _with_noise(np.zeros(round(rng.uniform(0.3, 1.5) * SAMPLE_RATE), np.int16), rng)
        return Recording(_encode_sound(samples, rng), "", len(samples) / SAMPLE_RATE)

    def new_large_silence(self, rng: random.Random) -> Recording:
        """Return 20 MB of WAV in which nobody speaks. The server takes two of these at once."""
        rate, seconds = 48_000, rng.randint(105, 110)
        second = _with_noise(np.zeros(rate, np.int16), rng)
        file = io.BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setparams((2, 2, rate, 0, "NONE", ""))
            wav.writeframes(np.repeat(second, 2).tobytes() * seconds)
        return Recording(file.getvalue(), "", seconds)

    def new_video(self, rng: random.Random, *, with_sound: bool = False) -> Video:
        """Return a video of one to three scenes, in a random format."""
        num_scenes, fps = rng.randint(1, 3), 5
        scenes = [random_scene(rng, rng.randint(1, 2)) for _ in range(num_scenes)]
        width, height = 192, rng.choice((144, 160, 192))
        pictures = [draw_scene(scene, width, height, rng).image for scene in scenes]
        sound, text, scene_s = None, "", 2 / fps
        if with_sound:
            samples, text = rng.choice(self._sentences)
            samples = _with_noise(samples, rng)
            # The pictures last as long as the sound: every scene has the same number of frames.
            scene_s = int(np.ceil(len(samples) / SAMPLE_RATE / num_scenes * fps)) / fps
            sound = Sound(samples, SAMPLE_RATE)
        container = rng.choice(tuple(_VIDEO_CODECS))
        video_codec, audio_codec = _VIDEO_CODECS[container]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"clip.{container}"
            media.write_clip(
                path, pictures, scene_s, sound=sound, fps=fps, video_codec=video_codec, audio_codec=audio_codec
            )
            content = path.read_bytes()
        return Video(content, [short_caption(scene) for scene in scenes], scene_s, text)


def _encode_picture(image: Image.Image, picture_format: str, rng: random.Random) -> bytes:
    """Return the picture in that format; one in four has a peculiarity that changes nothing that a person sees."""
    options: dict[str, Any] = dict(_PICTURE_OPTIONS[picture_format])
    if rng.random() < 0.25:
        if picture_format == "JPEG":  # stored on its side
            image = image.transpose(Image.Transpose.ROTATE_90)
            options["exif"] = Image.Exif()
            options["exif"][ExifTags.Base.Orientation] = ROTATE_90_CLOCKWISE
        elif picture_format == "PNG":  # transparent nowhere
            image = image.convert("RGBA")
        elif picture_format in ("GIF", "WEBP"):  # animated
            options |= {"save_all": True, "append_images": [ImageOps.invert(image)], "duration": 300}
    file = io.BytesIO()
    image.save(file, picture_format, **options)
    return file.getvalue()


def _pause(rng: random.Random) -> NDArray[np.int16]:
    return np.zeros(round(rng.uniform(0.3, 0.9) * SAMPLE_RATE), np.int16)


def _with_noise(samples: NDArray[np.int16], rng: random.Random) -> NDArray[np.int16]:
    level = 32768 * 10 ** (rng.uniform(*NOISE_DB) / 20)
    noise = np.random.default_rng(rng.getrandbits(64)).normal(0, level, len(samples))
    return (samples * rng.uniform(0.7, 1.0) + noise).clip(-32768, 32767).astype(np.int16)


def _encode_sound(samples: NDArray[np.int16], rng: random.Random) -> bytes:
    container = rng.choice(tuple(_SOUND_CODECS))
    codec, bit_rate = _SOUND_CODECS[container]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound.{container}"
        media.write_sound(path, Sound(samples, SAMPLE_RATE), codec, bit_rate=bit_rate)
        return path.read_bytes()


def _read_wave(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as file:
        if file.getframerate() != SAMPLE_RATE or file.getnchannels() != 1:
            raise ValueError(f"{path} is not {SAMPLE_RATE} Hz mono")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)


def _sentences_of_the_clip() -> list[tuple[NDArray[np.int16], str]]:
    """Return the sentences of samples/clip.mp4, one of each scene."""
    with av.open(str(project_folder() / "samples/clip.mp4")) as clip:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
        parts = [part.to_ndarray()[0] for frame in clip.decode(audio=0) for part in resampler.resample(frame)]
    samples = np.concatenate(parts).astype(np.int16)
    length = round(SCENE_S * SAMPLE_RATE)
    return [(samples[k * length : (k + 1) * length], sentence) for k, (_, sentence) in enumerate(CLIP)]


@functools.cache
def samples_file(name: str) -> bytes:
    """Return a file of `samples/`."""
    return (project_folder() / "samples" / name).read_bytes()
