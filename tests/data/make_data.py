"""Makes the media in this folder: `python -m tests.data.make_data` (needs espeak-ng; the tests do not).

`python -m tests.data.make_data further` makes only the formats for which it is not needed.
`contents.py` lists what each of them contains.

picture.jpg .png .webp .bmp .gif   320x240; the PNG has a transparent background; the BMP is 120x90; the GIF
                                   has two frames
picture.tiff .heic .avif           160x120; the TIFF has two pages; the HEIC is turned by its property irot
picture-rotated.jpg                stored as 240x320 with EXIF orientation 6: viewers rotate it, and show it upright as
                                   320x240
clip.mp4 .mov .mkv .avi            320x240, 10 frames a second, 30 frames: three scenes for 1 s each, and a sentence
clip.webm .3gp .ts .mpg .wmv .flv  the same, 176x144; the WebM is live, without a duration
clip-silent.mp4                    the same without an audio track
speech.wav .mp3 .m4a .flac .ogg    a sentence; the OGG is Vorbis
speech.aac .aiff .amr .wma .weba   the same, made of speech.wav; the last is a live WebM, as browsers record sound
speech-opus.ogg                    the same as Opus
silence.wav                        1 s, 8 kHz, 8 bit
"""

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
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
from tests.deployments.images.heif_files import picture_file, rotation_property

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


def make_further_formats(folder: Path) -> None:
    """Make the pictures, clips and recordings of formats that came later, with the speech of the earlier ones."""
    picture = draw(PICTURE, (160, 120))
    picture.save(
        folder / "picture.tiff", compression="tiff_lzw", save_all=True, append_images=[draw(CLIP[0], (80, 60))]
    )
    picture.save(folder / "picture.avif", quality=80)
    turned = picture.transpose(Image.Transpose.ROTATE_270)  # clockwise
    (folder / "picture.heic").write_bytes(picture_file(turned, "hvc1", rotation_property(1), pix_fmt="yuv420p"))
    speech, sound = _sound_of(folder / "speech.wav", 16_000), _sound_of(folder / "clip.mp4", 16_000)
    media.write_sound(folder / "speech.aac", speech, "aac", bit_rate=32_000)
    media.write_sound(folder / "speech.aiff", speech, "pcm_s16be")
    narrow = _sound_of(folder / "speech.wav", 8_000)
    media.write_sound(folder / "speech.amr", narrow, "libopencore_amrnb", sample_rate=8_000, bit_rate=12_200)
    media.write_sound(folder / "speech.wma", speech, "wmav2", bit_rate=32_000)
    recording = folder / "speech.webm"
    media.write_sound(recording, speech, "libopus", bit_rate=24_000, is_live=True)
    recording.rename(recording.with_suffix(".weba"))
    scenes = [draw(scene, (176, 144)) for scene in CLIP]
    clips: Mapping[str, Mapping[str, Any]] = {
        "clip.webm": {"video_codec": "libvpx", "audio_codec": "libopus", "is_live": True},
        "clip.3gp": {"video_codec": "h263"},
        "clip.ts": {},
        "clip.mpg": {"video_codec": "mpeg2video", "audio_codec": "mp2", "fps": 25},
        "clip.wmv": {"video_codec": "wmv2", "audio_codec": "wmav2"},
        "clip.flv": {"video_codec": "flv", "sample_rate": 22_050},
    }
    for name, options in clips.items():
        # The decoder of WMA leaves out the beginning.
        delayed = media.delay(sound, 0.1) if name == "clip.wmv" else sound
        media.write_clip(folder / name, scenes, SCENE_S, sound=delayed, **options)


def _sound_of(path: Path, sample_rate: int) -> media.Sound:
    """Return the sound of a file."""
    resampler = av.AudioResampler("s16", "mono", sample_rate)
    with av.open(path) as file:
        frames = [piece for frame in file.decode(audio=0) for piece in resampler.resample(frame)]
    frames += resampler.resample(None)
    return media.Sound(np.concatenate([frame.to_ndarray()[0] for frame in frames]), sample_rate)


def main() -> None:
    if sys.argv[1:] != ["further"]:
        make_pictures(FOLDER)
        make_clips(FOLDER)
        make_sounds(FOLDER)
    make_further_formats(FOLDER)


if __name__ == "__main__":
    main()
