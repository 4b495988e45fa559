"""Every supported format, through the real graph."""

import base64
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet
from PIL import Image

from recipes.moondream_mini.captions_and_answers import normal_caption, short_caption, summary
from tests.data.contents import CLIP, CLIP_SENTENCE, PICTURES, SENTENCE
from tests.e2e.client import DATA, answer_of, data_url, post_file, post_json

pytestmark = pytest.mark.e2e


def _slow(*names: str) -> list[ParameterSet]:
    """Return names of files that only `python -m pytest -m slow` sends: other tests decode their formats."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


CLIPS = ["clip.mp4", "clip.mov", "clip.mkv", "clip.avi", "clip.webm"]
CLIPS += _slow("clip.3gp", "clip.ts", "clip.mpg", "clip.wmv", "clip.flv")
RECORDINGS = ["speech.wav", "speech.mp3", "speech.m4a", "speech.flac", "speech.ogg", "speech-opus.ogg", "speech.weba"]
RECORDINGS += _slow("speech.aac", "speech.aiff", "speech.amr", "speech.wma")


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "picture-rotated.jpg"])
def test_a_picture_of_every_format_is_described(url: str, name: str) -> None:
    body = answer_of(post_file(url, "image", DATA / name))
    assert set(body) == {"success", "type", "description", "metadata", "timestamp"}
    assert set(body["metadata"]) == {
        "processing_time_ms",
        "model",
        "image_size",
        "finish_reason",
        "reused",
        "prompt_tokens",
        "generated_tokens",
    }
    assert body["type"] == "image"
    assert body["description"] == normal_caption(PICTURES[name])
    assert body["metadata"]["model"] == "moondream-mini"
    if name == "picture.heic":
        assert body["metadata"]["image_size"] == [160, 120]  # stored as 120 x 160
    else:
        with Image.open(DATA / name) as picture:
            assert body["metadata"]["image_size"] == list(picture.size)


def test_a_rotated_picture_is_described_as_a_person_sees_it(url: str) -> None:
    path = DATA / "picture-rotated.jpg"
    with Image.open(path) as stored:
        assert stored.width != stored.height
        body = answer_of(post_file(url, "image", path))
        assert body["metadata"]["image_size"] == [stored.height, stored.width]
    assert body["description"] == normal_caption(PICTURES[path.name])


def test_base64_a_data_url_and_a_form_get_the_same_description(url: str) -> None:
    path = DATA / "picture.png"
    plain = base64.b64encode(path.read_bytes()).decode()
    answers = [
        answer_of(post_file(url, "image", path, max_length=30)),
        answer_of(post_json(url, "image", {"image": plain, "options": {"max_length": 30}})),
        answer_of(post_json(url, "image", {"image": data_url(path), "max_length": 30})),
    ]
    assert len({answer["description"] for answer in answers}) == 1


def test_the_default_prompt_captions_and_another_one_asks(url: str) -> None:
    path = DATA / "picture.jpg"
    caption = answer_of(post_file(url, "image", path))["description"]
    default = answer_of(post_file(url, "image", path, prompt="Describe this image in detail"))["description"]
    assert caption == default
    for prompt in ("Describe this image", "What's in this image?"):
        assert answer_of(post_file(url, "image", path, prompt=prompt))["description"] == caption
    question = answer_of(post_file(url, "image", path, prompt="What colour is the circle?"))
    assert question["description"] == "The circle is red."


def test_max_length_limits_the_answer_and_finish_reason_says_so(url: str) -> None:
    body = answer_of(post_file(url, "image", DATA / "picture.jpg", max_length=2))
    assert body["metadata"]["finish_reason"] == "length"
    assert len(body["description"].split()) <= 2


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_of_every_format_is_described_frame_by_frame(url: str, name: str) -> None:
    body = answer_of(post_file(url, "video", DATA / name, num_frames=3))
    assert set(body) == {"success", "type", "metadata", "frames", "summary", "processing_time_ms", "timestamp"}
    known = {"duration_seconds", "fps", "resolution", "total_frames", "model", "reused_frames"}
    assert set(body["metadata"]) == known
    metadata = body["metadata"]
    # The sound may begin before the pictures, by the encoder's delay.
    start_s = body["frames"][0]["timestamp"]
    assert start_s == pytest.approx(0, abs=0.07)
    duration_s = metadata["total_frames"] / metadata["fps"] + start_s
    assert metadata["duration_seconds"] == pytest.approx(duration_s, rel=0.01)
    third = metadata["total_frames"] / 3
    assert [frame["frame_number"] for frame in body["frames"]] == [0, pytest.approx(third), pytest.approx(2 * third)]
    assert [frame["timestamp"] for frame in body["frames"]] == [
        pytest.approx(start_s + frame["frame_number"] / metadata["fps"], abs=0.01) for frame in body["frames"]
    ]
    captions = [short_caption(scene) for scene in CLIP]
    assert [frame["description"] for frame in body["frames"]] == captions
    assert body["summary"] == summary(captions)


def test_the_frames_of_a_clip_are_described_as_pictures_of_them_are(url: str) -> None:
    """The order is kept: a frame has the same description whichever frames it is captioned with."""
    many = answer_of(post_file(url, "video", DATA / "clip.mp4", num_frames=9, max_length=20))["frames"]
    few = answer_of(post_file(url, "video", DATA / "clip.mp4", num_frames=3, max_length=20))["frames"]
    by_number = {frame["frame_number"]: frame["description"] for frame in many}
    assert {frame["frame_number"]: frame["description"] for frame in few}.items() <= by_number.items()
    assert len(set(by_number.values())) >= 3


def test_keyframes_are_one_of_each_scene(url: str) -> None:
    body = answer_of(post_file(url, "video", DATA / "clip.mp4", num_frames=8, frame_sampling="keyframes", max_length=5))
    assert len(body["frames"]) == 3


def test_a_video_without_timestamps_leaves_out_only_those(url: str) -> None:
    options = '{"include_timestamps": false, "frame_sampling": "uniform"}'
    body = answer_of(post_file(url, "video", DATA / "clip-silent.mp4", num_frames=2, max_length=5, options=options))
    assert all(set(frame) == {"frame_number", "description"} for frame in body["frames"])


@pytest.mark.parametrize("name", CLIPS)
def test_include_audio_adds_what_the_audio_route_says(url: str, name: str) -> None:
    body = answer_of(post_file(url, "video", DATA / name, num_frames=1, max_length=5, include_audio="true"))
    audio = answer_of(post_file(url, "audio", DATA / "speech.wav"))
    assert set(body["transcript"]) - {"timestamp"} == set(audio) - {"timestamp"}
    assert body["transcript"]["transcription"] == CLIP_SENTENCE
    assert body["transcript"]["language"] == "en"


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_of_every_format_is_transcribed(url: str, name: str) -> None:
    body = answer_of(post_file(url, "audio", DATA / name, word_level_timestamps="true"))
    assert set(body) == {
        *("success", "type", "transcription", "language", "confidence", "segments", "metadata", "timestamp")
    }
    assert set(body["metadata"]) == {"duration_seconds", "processing_time_ms", "model"}
    assert body["metadata"]["model"] == "whisper-mini"
    duration_s = answer_of(post_file(url, "audio", DATA / "speech.wav"))["metadata"]["duration_seconds"]
    assert body["metadata"]["duration_seconds"] == pytest.approx(duration_s, abs=0.12)  # raw AAC has its padding
    assert body["transcription"] == SENTENCE
    assert body["language"] == "en"
    words = [word["word"].strip() for segment in body["segments"] for word in segment["words"]]
    assert words == SENTENCE.split()
    for segment in body["segments"]:
        assert set(segment) == {"start", "end", "text", "language", "confidence", "words"}
        assert 0 <= segment["start"] <= segment["end"]
        assert 0 <= segment["confidence"] <= 1
    confidences = [segment["confidence"] for segment in body["segments"]]
    assert min(confidences) <= body["confidence"] <= max(confidences)


def test_silence_has_no_words(url: str) -> None:
    body = answer_of(post_file(url, "audio", DATA / "silence.wav"))
    assert (body["transcription"], body["segments"], body["confidence"], body["language"]) == ("", [], 0.0, "und")


def test_a_batch_answers_each_file_as_its_own_route_does(url: str) -> None:
    names = {"image": "picture.png", "video": "clip.mkv", "audio": "speech.mp3"}
    files = [
        {"type": "image", "data": data_url(DATA / names["image"]), "max_length": 10},
        {"type": "video", "data": data_url(DATA / names["video"]), "num_frames": 2, "options": {"max_length": 5}},
        {"type": "image", "data": data_url(DATA / names["audio"])},
        {"type": "audio", "data": data_url(DATA / names["audio"]), "language": "en"},
    ]
    alone = [
        answer_of(post_file(url, "image", DATA / names["image"], max_length=10)),
        answer_of(post_file(url, "video", DATA / names["video"], num_frames=2, max_length=5)),
        post_file(url, "image", DATA / names["audio"]).json(),
        answer_of(post_file(url, "audio", DATA / names["audio"], language="en")),
    ]
    for parallel in (False, True):
        body = answer_of(post_json(url, "batch", {"files": files, "options": {"parallel": parallel}}))
        assert set(body) == {"success", "results", "total_processing_time_ms", "timestamp"}
        assert [result["file_index"] for result in body["results"]] == [0, 1, 2, 3]
        assert [_timeless(result["result"]) for result in body["results"]] == [_timeless(answer) for answer in alone]


def _timeless(body: object) -> object:
    """Return an answer without what differs each time it is given."""
    changing = ("timestamp", "processing_time_ms", "reused", "reused_frames")
    if isinstance(body, dict):
        return {key: _timeless(value) for key, value in body.items() if key not in changing}
    return body


def test_the_same_gibberish_gets_the_same_words_every_time(url: str, tmp_path: Path) -> None:
    """Whisper's fallback samples with a fixed seed, so a file always has the same transcript."""
    import wave

    gibberish = tmp_path / "gibberish.wav"
    with wave.open(str(DATA / "speech.wav")) as speech, wave.open(str(gibberish), "wb") as file:
        file.setparams((1, 2, 27_200, 0, "NONE", ""))  # faster than it was spoken, and backwards
        file.writeframes(np.frombuffer(speech.readframes(speech.getnframes()), "<i2")[::-1].tobytes() * 3)
    texts = {answer_of(post_file(url, "audio", gibberish))["transcription"] for _ in range(3)}
    assert len(texts) == 1
    assert texts != {""}
