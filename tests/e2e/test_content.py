"""Descriptions and transcripts are correct: drawn scenes and spoken sentences, many of them at once."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recipes import media
from recipes.moondream_mini.captions_and_answers import normal_caption, short_caption, summary
from recipes.moondream_mini.dataset import draw_example
from recipes.moondream_mini.world import Scene, Shape, draw_scene
from recipes.samples import CLIP, PICTURE, RECORDING, SCENE_S
from tests.cues import read_cues
from tests.data.contents import CLIP_SENTENCE, SENTENCE
from tests.data.contents import PICTURE as OTHER_PICTURE
from tests.e2e.client import DATA, answer_of, data_url, post_file, post_json

pytestmark = pytest.mark.e2e

SAMPLES = DATA.parent.parent / "samples"
SEED = 77_000
NUM_SCENES = 12


def test_two_pictures_at_once_get_their_own_captions_a_hundred_times(url: str, tmp_path: Path) -> None:
    """Concurrent requests are not mixed up. How accurate the miniature is, its card says."""
    paths, expected = [], []
    for number in range(NUM_SCENES):
        scene, drawing = draw_example(SEED, number)
        paths.append(tmp_path / f"{number}.png")
        drawing.image.save(paths[-1])
        expected.append(normal_caption(scene))
    alone = [describe(url, path) for path in paths]
    assert sum(caption == correct for caption, correct in zip(alone, expected, strict=True)) >= NUM_SCENES - 1
    assert len(set(alone)) == NUM_SCENES
    rng = random.Random(SEED)
    order = [number for _ in range(100) for number in rng.sample(range(NUM_SCENES), 2)]
    with ThreadPoolExecutor(2) as clients:
        # A different max_length for each, so that no answer comes from the cache.
        together = list(clients.map(lambda k: describe(url, paths[order[k]], 100 + k), range(len(order))))
    assert together == [alone[number] for number in order]


def describe(url: str, path: Path, max_length: int = 99) -> str:
    description: str = answer_of(post_file(url, "image", path, max_length=max_length))["description"]
    return description


def test_what_is_reused_from_an_earlier_request_is_reported(url: str, tmp_path: Path) -> None:
    path = tmp_path / "new.png"
    draw_scene(PICTURE, 500, 400, random.Random(99), (180, 190, 200)).image.save(path)

    def ask(question: str) -> tuple[str, str]:
        body = answer_of(post_file(url, "image", path, prompt=question))
        return body["description"], body["metadata"]["reused"]

    assert ask("What colour is the circle?") == ("The circle is red.", "nothing")
    assert ask("How many shapes are there?") == ("There are three shapes.", "image")
    assert ask("What colour is the circle?") == ("The circle is red.", "answer")


@pytest.mark.parametrize("sampling", ["uniform", "keyframes"])
def test_each_scene_of_a_clip_is_described_in_order_and_named_in_the_summary(url: str, sampling: str) -> None:
    body = answer_of(
        post_file(url, "video", SAMPLES / "clip.mp4", num_frames=len(CLIP), frame_sampling=sampling, include_audio=True)
    )
    captions = [short_caption(scene) for scene, _ in CLIP]
    assert [frame["description"] for frame in body["frames"]] == captions
    assert body["summary"] == summary(captions)
    assert body["transcript"]["transcription"] == " ".join(sentence for _, sentence in CLIP)


def test_the_subtitles_of_a_clip_stay_in_their_scenes_and_descriptions_keep_silent_while_somebody_speaks(
    url: str,
) -> None:
    body = answer_of(post_file(url, "video", SAMPLES / "clip.mp4", num_frames=len(CLIP), subtitles=True))
    cues = list(read_cues(body["transcript"]["subtitles"]["vtt"]))
    assert list(read_cues(body["transcript"]["subtitles"]["srt"])) == cues
    scenes = [int((start + 0.002) // SCENE_S) for start, _, _ in cues]
    assert [int((end - 0.002) // SCENE_S) for _, end, _ in cues] == scenes
    for number, (_, sentence) in enumerate(CLIP):
        assert " ".join(text for at, (_, _, text) in zip(scenes, cues, strict=True) if at == number) == sentence
    descriptions = list(read_cues(body["descriptions_vtt"]))
    # In the fourth scene there is not a second of silence.
    spoken_in = [int((start + 0.002) // SCENE_S) for start, _, _ in descriptions]
    assert spoken_in == [0, 1, 2, 4]
    assert [text for _, _, text in descriptions] == [short_caption(CLIP[number][0]) for number in spoken_in]
    spoken = [(segment["start"], segment["end"]) for segment in body["transcript"]["segments"]]
    assert all(
        end <= start_s + 0.01 or start >= end_s - 0.01 for start, end, _ in descriptions for start_s, end_s in spoken
    )


@pytest.mark.parametrize("num_scenes", [2, 3, 7])
def test_a_clip_of_any_number_of_scenes_is_described(url: str, tmp_path: Path, num_scenes: int) -> None:
    scenes = moving_star(num_scenes)
    pictures = [draw_scene(scene, 320, 240, random.Random(0), (120, 130, 140)).image for scene in scenes]
    path, prompt = tmp_path / "clip.mp4", "Describe this frame"
    media.write_clip(path, pictures, 0.5)
    body = answer_of(post_file(url, "video", path, num_frames=num_scenes, prompt=prompt))
    assert [frame["description"] for frame in body["frames"]] == [normal_caption(scene) for scene in scenes]


def moving_star(num_scenes: int) -> Sequence[Scene]:
    places = ("left", "top left", "top", "top right", "right", "bottom right", "bottom")
    return [Scene((Shape("star", "yellow", "large", place),)) for place in places[:num_scenes]]


def test_the_samples_are_described_correctly(url: str) -> None:
    assert describe(url, SAMPLES / "picture.jpg") == normal_caption(PICTURE)
    body = answer_of(post_file(url, "audio", SAMPLES / "recording.mp3"))
    assert body["transcription"] == " ".join(RECORDING)
    assert [segment["text"].strip() for segment in body["segments"]] == list(RECORDING)


def test_a_recording_that_breaks_off_is_transcribed_up_to_there_with_a_warning(url: str, tmp_path: Path) -> None:
    whole = (SAMPLES / "recording.mp3").read_bytes()
    path = tmp_path / "recording.mp3"
    path.write_bytes(whole[: len(whole) * 62 // 100])
    body = answer_of(post_file(url, "audio", path))
    assert body["transcription"] == " ".join(RECORDING[:2])
    assert body["metadata"]["warnings"] == ["The file breaks off: its sound ends after 6.7 of 10.9 seconds."]


def test_each_segment_of_a_recording_and_of_a_clip_has_a_speaker_when_asked_for(url: str) -> None:
    """Who it is, random weights do not know; with a number given, there are no more."""
    body = answer_of(post_file(url, "audio", SAMPLES / "recording.mp3", num_speakers=1, word_level_timestamps=True))
    assert {segment["speaker"] for segment in body["segments"]} == {"S1"}
    assert {word["speaker"] for segment in body["segments"] for word in segment["words"]} == {"S1"}
    assert body["transcription"] == " ".join(segment["text"] for segment in body["segments"])
    clip = answer_of(post_file(url, "video", SAMPLES / "clip.mp4", num_frames=1, speakers=True, subtitles=True))
    segments = clip["transcript"]["segments"]
    assert segments[0]["speaker"] == "S1"
    assert all(segment["speaker"] in ("S1", "S2", "S3", "S4") for segment in segments)


def test_the_transcript_of_a_clip_that_breaks_off_has_a_warning(url: str, tmp_path: Path) -> None:
    whole = (DATA / "clip.mkv").read_bytes()
    path = tmp_path / "clip.mkv"
    path.write_bytes(whole[: len(whole) * 9 // 10])
    transcript = answer_of(post_file(url, "video", path, num_frames=1, max_length=5, include_audio=True))["transcript"]
    assert transcript["transcription"] == CLIP_SENTENCE
    [warning] = transcript["metadata"]["warnings"]
    assert warning.startswith("The file breaks off: its sound ends after 1.9 of 3.1 seconds")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What colour is the circle?", "The circle is red."),
        ("How many shapes are there?", "There are three shapes."),
        ("Where is the star?", "The star is at the top left."),
        ("What shape is at the top right?", "A square."),
        ("Is there a triangle?", "No, there is no triangle."),
        ("Is there a green circle?", "No, there is no green circle."),
    ],
)
def test_a_question_gets_its_answer(url: str, question: str, answer: str) -> None:
    body = answer_of(post_file(url, "image", SAMPLES / "picture.jpg", prompt=question))
    assert body["description"] == answer


def test_each_file_of_a_batch_gets_its_own_result(url: str) -> None:
    files = [
        {"type": "audio", "data": data_url(DATA / "speech.mp3")},
        {"type": "image", "data": data_url(SAMPLES / "picture.jpg")},
        {"type": "image", "data": data_url(DATA / "picture.webp"), "prompt": "How many shapes do you see?"},
        {"type": "image", "data": data_url(DATA / "picture.jpg")},
        {"type": "video", "data": data_url(DATA / "clip.mkv"), "num_frames": 1, "include_audio": True},
    ]
    body = answer_of(post_json(url, "batch", {"files": files, "options": {"parallel": True}}))
    speech, picture, count, other, clip = [result["result"] for result in body["results"]]
    assert speech["transcription"] == SENTENCE
    assert picture["description"] == normal_caption(PICTURE)
    assert count["description"] == "There are two shapes."
    assert other["description"] == normal_caption(OTHER_PICTURE)
    assert clip["transcript"]["transcription"] == CLIP_SENTENCE


def test_pictures_of_every_aspect_ratio_are_described_correctly(url: str, tmp_path: Path) -> None:
    num_correct = 0
    for number, size in enumerate([(1920, 1080), (1080, 1920), (400, 200), (200, 400), (800, 800), (3000, 2000)]):
        path = tmp_path / f"{number}.png"
        draw_scene(PICTURE, *size, random.Random(number), (200, 205, 210)).image.save(path)
        num_correct += describe(url, path) == normal_caption(PICTURE)
    assert num_correct == 6
