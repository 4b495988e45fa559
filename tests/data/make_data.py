"""Makes the media in this folder: `python -m tests.data.make_data` (needs espeak-ng; the tests do not).

`contents.py` lists what each of them contains.

picture.jpg .png .webp .bmp .gif   320x240; the PNG has a transparent background; the BMP is 120x90; the GIF
                                   has two frames
picture-rotated.jpg                stored as 240x320 with EXIF orientation 6: viewers rotate it, and show it upright as
                                   320x240
clip.mp4 .mov .mkv .avi            320x240, 10 frames a second, 30 frames: three scenes for 1 s each, and a sentence
clip-silent.mp4                    the same without an audio track
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
    GIF_FRAMES,
    PICTURE,
    SCENE_ON_TRANSPARENCY,
    SCENE_S,
    SENTENCE,
)

FOLDER = Path(__file__).parent
SIZE = (320, 240)
GREY: Rgb = (150, 150, 146)
TRANSPARENT_RGB: Rgb = (90, 30, 60)
"""The colour stored in fully transparent pixels."""

EXIF_ORIENTATION = 0x0112
ROTATE_90_CLOCKWISE = 6


def draw(scene: Scene, size: tuple[int, int] = SIZE, background: Rgb = GREY) -> Image.Image:
    return draw_scene(scene, *size, random.Random(0), background).image


def make_pictures(folder: Path) -> None:
    picture = draw(PICTURE)
    picture.save(folder / "picture.jpg", quality=85)
    _on_transparency(SCENE_ON_TRANSPARENCY).save(folder / "picture.png", optimize=True)
    picture.save(folder / "picture.webp", quality=80)
    draw(PICTURE, (120, 90)).save(folder / "picture.bmp")
    first, second = (draw(scene).quantize(32) for scene in GIF_FRAMES)
    first.save(folder / "picture.gif", save_all=True, append_images=[second], duration=500, loop=0)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATE_90_CLOCKWISE
    rotated = picture.transpose(Image.Transpose.ROTATE_90)  # counter-clockwise
    rotated.save(folder / "picture-rotated.jpg", quality=85, exif=exif)


def _on_transparency(scene: Scene) -> Image.Image:
    pixels = np.asarray(draw(scene, background=TRANSPARENT_RGB))
    is_drawn = (pixels != TRANSPARENT_RGB).any(axis=-1)
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
