"""The kinds of requests, good ones, refused ones and cancelled ones, and what the answer to each must be."""

import base64
import io
import json
import math
import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from PIL import Image

from recipes.moondream_mini.captions_and_answers import short_caption, summary
from recipes.samples import CLIP, RECORDING
from serve_app.schemas import AudioAnalysis, BatchAnalysis, Health, ImageAnalysis, Probe, VideoAnalysis
from tests.endurance.client import Client, WrongAnswer
from tests.endurance.inputs import Inputs, Picture, Recording, Video, new_picture, samples_file

Again = Callable[[Client], Any]
"""Sends the same file again, so that nothing is reused, and returns what is compared."""

IMAGE, VIDEO, AUDIO, BATCH = (f"/api/analyze/{kind}" for kind in ("image", "video", "audio", "batch"))
ROUTES = (IMAGE, VIDEO, AUDIO)
MAX_TIME_ERROR_S = 0.15
"""Encoders pad the sound."""
FOREIGN_ORIGIN = "http://elsewhere.example"


@dataclass(frozen=True)
class Doubt:
    """An answer to a good input that is not the right one: a mistake of the miniature, or a fault of the server.

    The same file, sent again when nothing else runs, tells: the miniature makes the same mistake again.
    """

    expected: Any
    got: Any
    again: Again


@dataclass
class Context:
    """What a case works with."""

    client: Client
    inputs: Inputs
    rng: random.Random
    doubts: list[Doubt]

    def compare(self, expected: Any, got: Any, again: Again) -> None:
        if got != expected:
            self.doubts.append(Doubt(expected, got, again))


Case = Callable[[Context], None]


# Good requests


def small_picture(context: Context) -> None:
    _describe(context, new_picture(context.rng))


def large_picture(context: Context) -> None:
    _describe(context, new_picture(context.rng, large=True))


def question(context: Context) -> None:
    picture = new_picture(context.rng)
    asked = picture.question(context.rng)
    _describe(context, picture, asked.answer, prompt=asked.text)


def two_questions(context: Context) -> None:
    """The second question about a picture reuses its encoding, if that has not been evicted meanwhile."""
    picture = new_picture(context.rng)
    for _ in range(2):
        asked = picture.question(context.rng)
        _describe(context, picture, asked.answer, prompt=asked.text)


def picture_in_json(context: Context) -> None:
    picture = new_picture(context.rng)
    encoded = base64.b64encode(picture.content).decode()
    encoded = context.rng.choice(["", "data:image/png;base64,", "data:;base64,"]) + encoded
    body = context.client.expect_body(ImageAnalysis, IMAGE, json={"image": encoded, "options": {"max_length": 150}})
    _check_picture(body, picture)
    context.compare(picture.caption, body["description"], _describe_again(picture, {}))


def slow_upload(context: Context) -> None:
    """A body in chunks, without Content-Length, that takes a second or two to arrive."""
    picture = new_picture(context.rng)
    form = requests.Request("POST", context.client.url, files={"image": picture.content}).prepare()
    assert isinstance(form.body, bytes)
    content, num_chunks = form.body, context.rng.randint(2, 8)

    def chunks() -> Iterator[bytes]:
        for number in range(num_chunks):
            time.sleep(0.2)
            yield content[len(content) * number // num_chunks : len(content) * (number + 1) // num_chunks]

    headers = {"Content-Type": form.headers["Content-Type"]}
    body = context.client.expect_body(ImageAnalysis, IMAGE, data=chunks, headers=headers)
    _check_picture(body, picture)
    context.compare(picture.caption, body["description"], _describe_again(picture, {}))


def odd_headers(context: Context) -> None:
    """Headers that mean something to Serve change nothing."""
    rng = context.rng
    headers = {"x-request-timeout-seconds": "0.01", "x-request-disconnect-disabled": "?1", "x-session-id": "7"}
    headers = {name: value for name, value in headers.items() if rng.random() < 0.7}
    picture = new_picture(rng)
    body = context.client.expect_body(ImageAnalysis, IMAGE, files={"image": picture.content}, headers=headers)
    _check_picture(body, picture)
    context.compare(picture.caption, body["description"], _describe_again(picture, {}))


def recording(context: Context) -> None:
    _transcribe(context, context.inputs.new_recording(context.rng))


def recording_with_words(context: Context) -> None:
    _transcribe(context, context.inputs.new_recording(context.rng), word_level_timestamps="true")


def long_recording(context: Context) -> None:
    _transcribe(context, context.inputs.new_recording(context.rng, num_sentences=4), language="en")


def silence(context: Context) -> None:
    _transcribe(context, context.inputs.new_silence(context.rng))


def large_silence(context: Context) -> None:
    _transcribe(context, context.inputs.new_large_silence(context.rng))


def sample_recording(context: Context) -> None:
    body = context.client.expect_body(AudioAnalysis, AUDIO, files={"audio": samples_file("recording.mp3")})
    _require(body["transcription"] == " ".join(RECORDING), body)


def silent_video(context: Context) -> None:
    sampling = context.rng.choice(["uniform", "keyframes"])
    _watch(context, context.inputs.new_video(context.rng), frame_sampling=sampling)


def video_with_sound(context: Context) -> None:
    _watch(context, context.inputs.new_video(context.rng, with_sound=True), include_audio="true")


def sound_not_asked_for(context: Context) -> None:
    _watch(context, context.inputs.new_video(context.rng, with_sound=True))


def sample_video(context: Context) -> None:
    data = {"num_frames": len(CLIP), "include_audio": "true"}
    body = context.client.expect_body(VideoAnalysis, VIDEO, files={"video": samples_file("clip.mp4")}, data=data)
    captions = [short_caption(scene) for scene, _ in CLIP]
    _require([frame["description"] for frame in body["frames"]] == captions, body)
    _require(body["summary"] == summary(captions), body)
    _require(body["transcript"]["transcription"] == " ".join(sentence for _, sentence in CLIP), body)


def batch(context: Context) -> None:
    rng, inputs = context.rng, context.inputs
    picture, other = new_picture(rng), new_picture(rng)
    sound = inputs.new_silence(rng) if rng.random() < 0.8 else inputs.new_recording(rng)
    clip = inputs.new_video(rng)
    asked = other.question(rng)
    files = [
        {"type": "image", "data": _base64(picture.content)},
        {"type": "audio", "data": _base64(sound.content)},
        {"type": "image", "data": _base64(b"no picture at all")},
        {"type": "image", "data": _base64(other.content), "options": {"prompt": asked.text}},
        {"type": "video", "data": _base64(clip.content), "num_frames": len(clip.captions)},
    ]
    order = rng.sample(range(len(files)), len(files))

    def send(client: Client) -> list[Any]:
        document = {"files": [files[k] for k in order], "options": {"parallel": rng.random() < 0.5}}
        body = client.expect_body(BatchAnalysis, BATCH, json=document)
        _require([result["file_index"] for result in body["results"]] == list(range(len(files))), body)
        by_file = dict(zip(order, (result["result"] for result in body["results"]), strict=True))
        _require(by_file[2].get("error", {}).get("code") == "INVALID_FILE_TYPE", body)
        _require(all(by_file[k]["success"] for k in (0, 1, 3, 4)), body)
        descriptions = [frame["description"] for frame in by_file[4]["frames"]]
        return [by_file[0]["description"], by_file[1]["transcription"], by_file[3]["description"], descriptions]

    expected = [picture.caption, sound.text, asked.answer, list(clip.captions)]
    context.compare(expected, send(context.client), send)


def health(context: Context) -> None:
    body = context.client.expect("200", "GET", "/api/health").body
    Health.model_validate(body)
    _require(body["models_loaded"] and all(row["state"] == "running" for row in body["deployments"]), body)


def probes(context: Context) -> None:
    for path, status in (("/livez", "alive"), ("/readyz", "ready")):
        body = context.client.expect("200", "GET", path).body
        _require(Probe.model_validate(body).status == status, body)
    context.client.expect("200", "HEAD", context.rng.choice(["/livez", "/readyz", "/api/health"]))


def documents(context: Context) -> None:
    body = context.client.expect("200", "GET", "/openapi.json").body
    _require(set(ROUTES) <= set(body["paths"]), "openapi.json has not all routes")
    context.client.expect("200", "GET", "/docs", is_json=False)


# Refused requests


def wrong_type(context: Context) -> None:
    """Text, a document, a program, or a file of another route."""
    rng = context.rng
    foreign = {
        IMAGE: context.inputs.new_silence(rng).content,
        VIDEO: new_picture(rng).content,
        AUDIO: new_picture(rng).content,
    }
    route = rng.choice(ROUTES)
    # Without the bytes 0xff, with which frames of MP3 and AAC begin.
    noise = rng.randbytes(rng.randint(25, 2500)).hex().encode()
    starts = [b"%PDF-1.7\n", b"PK\x03\x04", b"\x7fELF", b"8BPS", b"<!doctype html>" * 50, b"{}\n" * 400]
    content = rng.choice([foreign[route], *(start + noise for start in starts[:4]), *starts[4:]])
    _refuse(context, "400 INVALID_FILE_TYPE", route, content)


def truncated_file(context: Context) -> None:
    """Only the first bytes of a file: its type is known, nothing in it can be decoded."""
    rng = context.rng
    content, route = {
        "PNG": (_picture_as(rng, "PNG"), IMAGE),
        "JPEG": (_picture_as(rng, "JPEG"), IMAGE),
        "FLAC": (b"fLaC" + rng.randbytes(60), AUDIO),
    }[rng.choice(["PNG", "JPEG", "FLAC"])]
    _refuse(context, "400 INVALID_FILE", route, content[: rng.randint(30, 120)])


def damaged_file(context: Context) -> None:
    """The right first bytes, and random ones behind them."""
    rng = context.rng
    noise = rng.randbytes(rng.randint(200, 3000))
    content, route = rng.choice(
        [
            (b"\x89PNG\r\n\x1a\n" + noise, IMAGE),
            (b"\xff\xd8\xff\xe0" + noise, IMAGE),
            (b"GIF89a" + noise, IMAGE),
            (b"RIFF" + len(noise).to_bytes(4, "little") + b"WEBP" + noise, IMAGE),
            (b"fLaC" + noise, AUDIO),
            (b"RIFF" + len(noise).to_bytes(4, "little") + b"WAVE" + noise, AUDIO),
            (b"RIFF" + len(noise).to_bytes(4, "little") + b"AVI " + noise, VIDEO),
        ]
    )
    _refuse(context, "400 INVALID_FILE", route, content)


def too_many_pixels(context: Context) -> None:
    side = context.rng.randint(8100, 30_000)
    header = io.BytesIO()
    Image.new("1", (8, 8)).save(header, "PNG")
    content = bytearray(header.getvalue())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    _refuse(context, "400 INVALID_FILE", IMAGE, bytes(content))


def too_large_and_sent(context: Context) -> None:
    """The client sends all of it, as browsers do, and must be able to read the refusal."""
    content = bytes(context.rng.randint(11, 20) * 2**20)
    _refuse(context, "413 FILE_TOO_LARGE", IMAGE, content)


def too_large(context: Context) -> None:
    limits_mb = {IMAGE: 10, VIDEO: 100, AUDIO: 50, BATCH: 200}
    route = context.rng.choice(tuple(limits_mb))
    content_type = "application/json" if route == BATCH else "multipart/form-data; boundary=b"
    num_bytes = round((limits_mb[route] * 1.4 + 2) * 2**20 * context.rng.uniform(1, 20))
    answer = context.client.send_head(route, content_type=content_type, num_bytes=num_bytes)
    _require((answer.status, answer.code) == (413, "FILE_TOO_LARGE"), answer)


def wrong_options(context: Context) -> None:
    rng = context.rng
    route, options = rng.choice(
        [
            (IMAGE, {"colour": "red"}),
            (IMAGE, {"max_length": rng.choice(["0", "1025", "-5", "many", "1e3"])}),
            (IMAGE, {"num_frames": "3"}),
            (IMAGE, {"options": rng.choice(["[1]", "{", '"text"', '{"max_length": "7"}', '{"max_length": 7.5}'])}),
            (IMAGE, {"max_length": "5", "options": '{"max_length": 6}'}),
            (IMAGE, {"prompt": "x" * rng.randint(33_000, 60_000)}),
            (VIDEO, {"num_frames": rng.choice(["0", "33", "three"])}),
            (VIDEO, {"frame_sampling": "random"}),
            (VIDEO, {"include_audio": "perhaps"}),
            (AUDIO, {"language": rng.choice(["xx", "english please", "xx-US"])}),
            (AUDIO, {"word_level_timestamps": "2"}),
            (AUDIO, {"num_frames": "3"}),
        ]
    )
    _refuse(context, "400 INVALID_REQUEST", route, rng.randbytes(100), options)


def no_form(context: Context) -> None:
    """No file, an empty one, two of them, another content type, a broken form."""
    rng, client = context.rng, context.client
    route = rng.choice(ROUTES)
    kind = route.rpartition("/")[2]
    content = rng.randbytes(50)
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    arguments: Mapping[str, Any] = rng.choice(
        [
            {"files": {"file": content}},
            {"files": {kind: b""}},
            {"files": [(kind, content), (kind, content)]},
            {"data": {kind: "text"}},
            {"data": content, "headers": {"Content-Type": "application/octet-stream"}},
            {"data": content, "headers": {"Content-Type": "multipart/form-data"}},
            {"data": content, "headers": multipart},
            {"data": b"--b\r\nContent-Disposition: form-data; name=" + content, "headers": multipart},
            {"data": b""},
        ]
    )
    client.expect("400 INVALID_REQUEST", "POST", route, **arguments)


def bad_json(context: Context) -> None:
    rng = context.rng
    route = rng.choice([*ROUTES, BATCH])
    kind = route.rpartition("/")[2]
    text = rng.choice(
        [
            "",
            "[1, 2",
            '"text"',
            "null",
            "[" * 5000,
            '{"a": NaN}',
            '{"a": 1, "a": 2}',
            '{"files": []}',
            json.dumps({"files": [{"type": "image", "data": "AAAA"}] * 17}),
            json.dumps({"files": [{"type": "text", "data": "AAAA"}]}),
            json.dumps({kind: "no base64!", "files": "none"}),
            json.dumps({kind: 5}),
            json.dumps({kind: "", "files": [7]}),
            json.dumps({kind: "=" * rng.randint(1, 50_000), "files": {}}),
            '{"\ud800": 1}'.encode("utf-8", "surrogatepass").decode("latin-1"),
        ]
    )
    headers = {"Content-Type": "application/json"}
    context.client.expect("400 INVALID_REQUEST", "POST", route, data=text.encode("latin-1"), headers=headers)


def no_such_route(context: Context) -> None:
    rng, client = context.rng, context.client
    client.expect("404 NOT_FOUND", rng.choice(["GET", "POST"]), f"/{rng.randbytes(4).hex()}")
    client.expect("405 METHOD_NOT_ALLOWED", rng.choice(["GET", "PUT", "DELETE"]), rng.choice([*ROUTES, BATCH]))


def foreign_page(context: Context) -> None:
    rng, client = context.rng, context.client
    headers = rng.choice([{"Origin": FOREIGN_ORIGIN}, {"Origin": "null"}, {"Host": "rebound.example"}])
    method, path = rng.choice([("GET", "/api/health"), ("OPTIONS", IMAGE), ("GET", "/nowhere")])
    client.expect("403 FORBIDDEN", method, path, headers=headers)
    files = {"image": new_picture(rng).content}
    client.expect("403 FORBIDDEN", "POST", IMAGE, headers=headers, files=files)


def preflight(context: Context) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    context.client.expect("200", "OPTIONS", context.rng.choice(ROUTES), headers=headers, is_json=False)


# Cancelled requests


def left_in_upload(context: Context) -> None:
    route, body = _some_upload(context)
    context.client.leave_in_upload(route, **body)


def left_before_answer(context: Context) -> None:
    route, body = _some_upload(context)
    context.client.leave_before_answer(route, **body)


def left_in_answer(context: Context) -> None:
    context.client.leave_in_answer("/openapi.json")


def _some_upload(context: Context) -> tuple[str, dict[str, Any]]:
    rng, inputs = context.rng, context.inputs
    kind = rng.choice(["image", "large image", "question", "audio", "video", "batch"])
    if kind in ("image", "large image"):
        return IMAGE, {"files": {"image": new_picture(rng, large=kind == "large image").content}}
    if kind == "question":
        return IMAGE, {"json": {"image": _base64(new_picture(rng).content), "prompt": "Where is the red circle?"}}
    if kind == "audio":
        return AUDIO, {"files": {"audio": inputs.new_recording(rng).content}}
    if kind == "video":
        content = inputs.new_video(rng, with_sound=True).content
        return VIDEO, {"files": {"video": content}, "data": {"include_audio": "true"}}
    files = [{"type": "image", "data": _base64(new_picture(rng).content)} for _ in range(4)]
    return BATCH, {"json": {"files": files}}


# Checks


def _describe(context: Context, picture: Picture, expected: str | None = None, **options: str) -> None:
    body = context.client.expect_body(ImageAnalysis, IMAGE, files={"image": picture.content}, data=options)
    _check_picture(body, picture)
    context.compare(expected or picture.caption, body["description"], _describe_again(picture, options))


def _describe_again(picture: Picture, options: Mapping[str, str]) -> Again:
    # A byte after the end changes no pixel, but no cache knows the file.
    files = {"image": picture.content + b"\0"}
    return lambda client: client.expect_body(ImageAnalysis, IMAGE, files=files, data=options)["description"]


def _check_picture(body: Mapping[str, Any], picture: Picture) -> None:
    metadata = body["metadata"]
    _require(metadata["image_size"] == list(picture.size), body)
    _require(metadata["model"] == "moondream-mini" and metadata["finish_reason"] == "stop", body)


def _transcribe(context: Context, sound: Recording, **options: str) -> None:
    def send(client: Client) -> str:
        body = client.expect_body(AudioAnalysis, AUDIO, files={"audio": sound.content}, data=options)
        _check_times(body, sound.seconds)
        _require(
            all("words" in segment for segment in body["segments"]) == ("word_level_timestamps" in options)
            or not body["segments"],
            body,
        )
        text: str = body["transcription"]
        return text

    context.compare(sound.text, send(context.client), send)


def _check_times(body: Mapping[str, Any], seconds: float) -> None:
    duration_s = body["metadata"]["duration_seconds"]
    _require(abs(duration_s - seconds) <= MAX_TIME_ERROR_S, body)
    _require("warnings" not in body["metadata"], body)
    end = 0.0
    for segment in body["segments"]:
        _require(end <= segment["start"] <= segment["end"] <= duration_s + MAX_TIME_ERROR_S, body)
        end = segment["start"]
        word_end = segment["start"]
        for word in segment.get("words", []):
            _require(word_end <= word["start"] <= word["end"] <= segment["end"], body)
            word_end = word["end"]
        end = segment["end"]


def _watch(context: Context, clip: Video, **options: str) -> None:
    wants_sound = "include_audio" in options
    data = {"num_frames": str(len(clip.captions)), **options}

    def send(client: Client) -> list[Any]:
        body = client.expect_body(VideoAnalysis, VIDEO, files={"video": clip.content}, data=data)
        times = [frame["timestamp"] for frame in body["frames"]]
        _require(times == sorted(times) and times[0] >= 0, body)
        _require(("transcript" in body) == wants_sound, body)
        text = body["transcript"]["transcription"] if wants_sound else ""
        return [[frame["description"] for frame in body["frames"]], body["summary"], text]

    expected = [list(clip.captions), clip.summary, clip.text if wants_sound else ""]
    context.compare(expected, send(context.client), send)


def _refuse(
    context: Context, expected: str, route: str, content: bytes, options: Mapping[str, str] | None = None
) -> None:
    kind = route.rpartition("/")[2]
    if options is None and context.rng.random() < 0.3:
        context.client.expect(expected, "POST", route, json={kind: _base64(content)})
    else:
        context.client.expect(expected, "POST", route, files={kind: content}, data=options)


def _picture_as(rng: random.Random, picture_format: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(rng.getrandbits(64)).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(file, picture_format)
    return file.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _require(condition: object, what: object) -> None:
    if not condition:
        raise WrongAnswer(f"A wrong answer: {what}")


LOAD_MIX: Mapping[Case, int] = {
    small_picture: 8,
    large_picture: 6,
    question: 8,
    two_questions: 3,
    picture_in_json: 4,
    slow_upload: 2,
    odd_headers: 2,
    recording: 5,
    recording_with_words: 3,
    long_recording: 2,
    silence: 3,
    large_silence: 1,
    sample_recording: 1,
    silent_video: 5,
    video_with_sound: 3,
    sound_not_asked_for: 2,
    sample_video: 1,
    batch: 4,
    health: 3,
    probes: 2,
    documents: 1,
    wrong_type: 4,
    truncated_file: 3,
    damaged_file: 4,
    too_many_pixels: 1,
    too_large: 2,
    too_large_and_sent: 1,
    wrong_options: 4,
    no_form: 3,
    bad_json: 4,
    no_such_route: 2,
    foreign_page: 2,
    preflight: 1,
    left_in_upload: 5,
    left_before_answer: 6,
    left_in_answer: 2,
}
"""How often each kind is sent, relative to the others."""

SOAK_MIX: Mapping[Case, int] = {
    **{case: 10 * weight for case, weight in LOAD_MIX.items()},
    small_picture: 110,
    large_picture: 9,
    question: 40,
    two_questions: 9,
    picture_in_json: 25,
    recording: 11,
    recording_with_words: 9,
    long_recording: 0,
    silence: 25,
    large_silence: 0,
    sample_recording: 0,
    silent_video: 30,
    video_with_sound: 9,
    sound_not_asked_for: 11,
    sample_video: 0,
    batch: 12,
    left_before_answer: 40,
}
"""The same with fewer expensive ones, so that the mean request takes little time. Of 20,000, each kind has hundreds."""


def schedule(mix: Mapping[Case, int], count: int, rng: random.Random) -> Sequence[Case]:
    """Return `count` cases in random order, as many of each kind as the mix says."""
    total = sum(mix.values())
    cases = [case for case, weight in mix.items() for _ in range(math.ceil(count * weight / total))]
    rng.shuffle(cases)
    return cases[:count]
