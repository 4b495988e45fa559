"""Makes the samples: `python -m samples.make` (needs espeak-ng; using the samples does not)."""

from pathlib import Path

from samples import media, scenes

FOLDER = Path(__file__).parent

CLIP = (
    (scenes.sailing_boat, "A sailing boat on the blue sea."),
    (scenes.yellow_car, "A yellow car on a grey road."),
    (scenes.moon_over_mountains, "A full moon over dark mountains."),
    (scenes.snowman, "A snowman with a red scarf."),
    (scenes.house_by_the_lake, "A red house by a lake."),
)
SCENE_S = 2.2

RECORDING = (
    "Good morning, and welcome to the garden.",
    "The apple trees are in bloom this week.",
    "Please close the gate when you leave.",
)
PAUSE_S = 0.9


def make_picture(path: Path) -> None:
    picture = scenes.draw_scene(scenes.house_by_the_lake, 960, 720).convert("RGB")
    picture.save(path, quality=88, optimize=True)


def make_clip(path: Path) -> None:
    pictures = [scenes.draw_scene(scene, 640, 480) for scene, _ in CLIP]
    sound = media.joined([media.padded(media.speak(sentence, words_per_minute=165), SCENE_S) for _, sentence in CLIP])
    media.write_clip(path, pictures, SCENE_S, sound=sound, fps=25)


def make_recording(path: Path) -> None:
    sentences = [media.speak(sentence) for sentence in RECORDING]
    pause = media.silence(PAUSE_S, sentences[0].sample_rate)
    sound = media.joined([part for sentence in sentences for part in (sentence, pause)])
    media.write_sound(path, sound, "libmp3lame", sample_rate=22_050, bit_rate=48_000)


def main() -> None:
    make_picture(FOLDER / "picture.jpg")
    make_clip(FOLDER / "clip.mp4")
    make_recording(FOLDER / "recording.mp3")


if __name__ == "__main__":
    main()
