"""Makes the media in this folder: `python -m tests.data.make_data` (needs espeak-ng; the tests do not).

picture.jpg .png .webp .bmp .gif   320x240: a house by a lake, and on PNG an apple on nothing (transparent); the
                                   BMP is 120x90; the GIF has a boat as first frame and a car as second
picture-rotated.jpg                the house stored lying on its side, 240x320, with EXIF orientation 6: a person
                                   sees it upright, 320x240
clip.mp4 .mov .mkv .avi            320x240, 10 frames a second, 30 frames: the SCENES for 1 s each, and CLIP_SENTENCE
clip-silent.mp4                    the same without a sound track
speech.wav .mp3 .m4a .flac .ogg    SENTENCE; the OGG is Vorbis
speech-opus.ogg                    the same as Opus
silence.wav                        1 s, 8 kHz, 8 bit
"""

from pathlib import Path

from PIL import Image

from samples import media, scenes

FOLDER = Path(__file__).parent

SENTENCE = "The quick brown fox jumps over the lazy dog."
CLIP_SENTENCE = "A boat, a car and a snowman."
SCENES = (scenes.sailing_boat, scenes.yellow_car, scenes.snowman)
SCENE_S = 1.0
SIZE = (320, 240)

EXIF_ORIENTATION = 0x0112
TURN_CLOCKWISE_TO_SEE = 6


def make_pictures(folder: Path) -> None:
    house = scenes.draw_scene(scenes.house_by_the_lake, *SIZE).convert("RGB")
    boat, car = (scenes.draw_scene(scene, *SIZE).convert("RGB") for scene in (scenes.sailing_boat, scenes.yellow_car))
    house.save(folder / "picture.jpg", quality=85)
    scenes.draw_scene(scenes.red_apple, *SIZE).save(folder / "picture.png", optimize=True)
    house.save(folder / "picture.webp", quality=80)
    scenes.draw_scene(scenes.house_by_the_lake, 120, 90).convert("RGB").save(folder / "picture.bmp")
    boat.quantize(32).save(
        folder / "picture.gif", save_all=True, append_images=[car.quantize(32)], duration=500, loop=0
    )
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURN_CLOCKWISE_TO_SEE
    lying = house.transpose(Image.Transpose.ROTATE_90)  # counter-clockwise
    lying.save(folder / "picture-rotated.jpg", quality=85, exif=exif)


def make_clips(folder: Path) -> None:
    pictures = [scenes.draw_scene(scene, *SIZE) for scene in SCENES]
    sound = media.padded(media.speak(CLIP_SENTENCE), len(SCENES) * SCENE_S)
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
