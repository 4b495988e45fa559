"""Makes the files of `samples/`: `python -m recipes.samples` (needs espeak-ng; using the samples does not)."""

import random
from pathlib import Path

from deployments.project import project_folder
from recipes import media, search_files
from recipes.moondream_mini.world import Rgb, Scene, Shape, draw_scene

FOLDER = project_folder() / "samples"

PICTURE = Scene(
    (
        Shape("star", "yellow", "large", "top left"),
        Shape("square", "blue", "small", "top right"),
        Shape("circle", "red", "large", "bottom"),
    )
)
PAPER: Rgb = (222, 216, 200)
DUSK: Rgb = (88, 96, 118)

CLIP = (
    (Scene((Shape("circle", "red", "large", "left"),)), "A large red circle is on the left."),
    (Scene((Shape("square", "blue", "small", "top"),)), "A small blue square is at the top."),
    (Scene((Shape("star", "yellow", "large", "middle"),)), "A large yellow star is in the middle."),
    (Scene((Shape("triangle", "green", "small", "bottom right"),)), "A small green triangle is at the bottom."),
    (Scene((Shape("cross", "white", "large", "right"),)), "A large white cross is on the right."),
)
SCENE_S = 3.2

RECORDING = (
    "Good morning and welcome to the garden.",
    "The apple trees are in bloom this week.",
    "Please close the gate when you leave.",
)
PAUSE_S = 0.9


def make_picture(path: Path) -> None:
    picture = draw_scene(PICTURE, 960, 720, random.Random(1), PAPER).image
    picture.save(path, quality=88, optimize=True)


def make_clip(path: Path) -> None:
    pictures = [draw_scene(scene, 640, 480, random.Random(1), DUSK).image for scene, _ in CLIP]
    sound = media.concatenate([media.pad(media.speak(sentence, words_per_minute=165), SCENE_S) for _, sentence in CLIP])
    media.write_clip(path, pictures, SCENE_S, sound=sound, fps=25)


def make_recording(path: Path) -> None:
    sentences = [media.speak(sentence) for sentence in RECORDING]
    pause = media.silence(PAUSE_S, sentences[0].sample_rate)
    sound = media.concatenate([part for sentence in sentences for part in (sentence, pause)])
    media.write_sound(path, sound, "libmp3lame", sample_rate=22_050, bit_rate=48_000)


def main() -> None:
    make_picture(FOLDER / "picture.jpg")
    make_clip(FOLDER / "clip.mp4")
    make_recording(FOLDER / "recording.mp3")
    search_files.make_pdf(FOLDER / "article.pdf")
    search_files.make_docx(FOLDER / "rules.docx")


if __name__ == "__main__":
    main()
