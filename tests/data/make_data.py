"""Makes the media in this folder: `python -m tests.data.make_data` (needs espeak-ng; the tests do not).

contents.py says what each shows or says.

picture.jpg .png .webp .bmp .gif   320x240; the PNG is a shape on nothing (transparent); the BMP is 120x90; the GIF
                                   has two frames
picture-rotated.jpg                the picture stored lying on its side, 240x320, with EXIF orientation 6: a person
                                   sees it upright, 320x240
clip.mp4 .mov .mkv .avi            320x240, 10 frames a second, 30 frames: three scenes for 1 s each, and a sentence
clip-silent.mp4                    the same without a sound track
speech.wav .mp3 .m4a .flac .ogg    a sentence; the OGG is Vorbis
speech-opus.ogg                    the same as Opus
silence.wav                        1 s, 8 kHz, 8 bit
"""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from recipes import media
from recipes.moondream_mini.world import Rgb, Scene, draw_scene
from tests.data.contents import (
    CLIP,
    CLIP_SENTENCE,
    FIRST_FRAME,
    OPAQUE_PART,
    PICTURE,
    SCENE_S,
    SECOND_FRAME,
    SENTENCE,
)

FOLDER = Path(__file__).parent
SIZE = (320, 240)
GREY: Rgb = (150, 150, 146)
UNSEEN: Rgb = (90, 30, 60)
"""The colour of pixels that are transparent."""

EXIF_ORIENTATION = 0x0112
TURN_CLOCKWISE_TO_SEE = 6


def draw(scene: Scene, size: tuple[int, int] = SIZE, background: Rgb = GREY) -> Image.Image:
    return draw_scene(scene, *size, random.Random(0), background).image


def make_pictures(folder: Path) -> None:
    picture = draw(PICTURE)
    picture.save(folder / "picture.jpg", quality=85)
    _on_nothing(OPAQUE_PART).save(folder / "picture.png", optimize=True)
    picture.save(folder / "picture.webp", quality=80)
    draw(PICTURE, (120, 90)).save(folder / "picture.bmp")
    first, second = draw(FIRST_FRAME).quantize(32), draw(SECOND_FRAME).quantize(32)
    first.save(folder / "picture.gif", save_all=True, append_images=[second], duration=500, loop=0)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURN_CLOCKWISE_TO_SEE
    lying = picture.transpose(Image.Transpose.ROTATE_90)  # counter-clockwise
    lying.save(folder / "picture-rotated.jpg", quality=85, exif=exif)


def _on_nothing(scene: Scene) -> Image.Image:
    pixels = np.asarray(draw(scene, background=UNSEEN))
    is_drawn = (pixels != UNSEEN).any(axis=-1)
    return Image.fromarray(np.dstack([pixels, np.where(is_drawn, 255, 0).astype(np.uint8)]))


def make_clips(folder: Path) -> None:
    pictures = [draw(scene) for scene in CLIP]
    sound = media.pad(media.speak(CLIP_SENTENCE), len(CLIP) * SCENE_S)
    for ending in ("mp4", "mov", "mkv"):
        media.write_clip(folder / f"clip.{ending}", pictures, SCENE_S, sound=sound)
    media.write_clip(folder / "clip.avi", pictures, SCENE_S, sound=sound, video_codec="mpeg4", audio_codec="libmp3lame")
    media.write_clip(folder / "clip-silent.mp4", pictures, SCENE_S)


def make_sounds(folder: Path) -> None:
    speech = media.speak(SENTENCE)
    media.write_sound(folder / "speech.wav", speech, "pcm_s16le")
    media.write_sound(folder / "speech.mp3", speech, "libmp3lame", bit_rate=32_000)
    media.write_sound(folder / "speech.m4a", speech, "aac", bit_rate=32_000)
    media.write_sound(folder / "speech.flac", speech, "flac")
    media.write_sound(folder / "speech.ogg", speech, "vorbis")
    media.write_sound(folder / "speech-opus.ogg", speech, "libopus", bit_rate=24_000)
    media.write_sound(folder / "silence.wav", media.silence(1, 8_000), "pcm_u8", sample_rate=8_000)


def main() -> None:
    make_pictures(FOLDER)
    make_clips(FOLDER)
    make_sounds(FOLDER)


if __name__ == "__main__":
    main()
