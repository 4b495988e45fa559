from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.transcriber.types import Decoding, TranscribeTask, Transcript, TranscriptSegment, TranscriptWord
from tests.serve_app.conftest import WAV
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.openai.requests import error_of

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
FILE = {"file": ("speech.wav", WAV)}
TRANSCRIPT = Transcript(
    "Hello there.",
    "en",
    0.9,
    [
        TranscriptSegment(
            0.5,
            1.5,
            "Hello there.",
            0.9,
            [TranscriptWord(" Hello", 0.5, 0.9, 0.9), TranscriptWord(" there.", 0.9, 1.5, 0.9)],
            decoding=Decoding(25, [50364, 2425, 456, 13, 50414], 0.2, -0.105, 1.25, 0.01),
        )
    ],
    2.0,
)


@pytest.fixture(autouse=True)
def _transcript(graph: FakeGraph) -> None:
    graph.transcriber.transcript = TRANSCRIPT


def task_of(graph: FakeGraph) -> TranscribeTask:
    [(content, task)] = graph.transcriber.calls
    assert content == WAV
    return task  # type: ignore[no-any-return]


def test_json_by_default(client: TestClient, graph: FakeGraph) -> None:
    response = client.post(TRANSCRIPTIONS, files=FILE, data={"model": "whisper-1"})
    assert response.json() == {"text": "Hello there.", "usage": {"type": "duration", "seconds": 2.0}}
    assert task_of(graph) == TranscribeTask()


def test_the_options_reach_the_model(client: TestClient, graph: FakeGraph) -> None:
    data = {"model": "whisper-base", "language": "de", "prompt": "Dr. Nguyen", "temperature": "0.5"}
    assert client.post(TRANSCRIPTIONS, files=FILE, data=data).status_code == 200
    assert task_of(graph) == TranscribeTask(language="de", prompt="Dr. Nguyen")


def test_a_translation_is_in_english(client: TestClient, graph: FakeGraph) -> None:
    data = {"model": "whisper-1", "response_format": "verbose_json"}
    assert client.post(TRANSLATIONS, files=FILE, data=data).json()["task"] == "translate"
    assert task_of(graph) == TranscribeTask(translate=True)


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        ("text", "Hello there.\n"),
        ("srt", "1\n00:00:00,500 --> 00:00:01,500\nHello there.\n\n"),
        ("vtt", "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nHello there.\n\n"),
    ],
)
def test_text_and_subtitles(client: TestClient, response_format: str, text: str) -> None:
    response = client.post(TRANSCRIPTIONS, files=FILE, data={"model": "whisper-1", "response_format": response_format})
    assert response.text == text
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


SEGMENT = {
    "id": 0,
    "seek": 25,
    "start": 0.5,
    "end": 1.5,
    "text": "Hello there.",
    "tokens": [50364, 2425, 456, 13, 50414],
    "temperature": 0.2,
    "avg_logprob": -0.105,
    "compression_ratio": 1.25,
    "no_speech_prob": 0.01,
}
WORDS = [{"word": "Hello", "start": 0.5, "end": 0.9}, {"word": "there.", "start": 0.9, "end": 1.5}]


@pytest.mark.parametrize(
    ("granularities", "parts"),
    [
        ([], {"segments": [SEGMENT]}),
        (["segment"], {"segments": [SEGMENT]}),
        (["word"], {"words": WORDS}),
        (["word", "segment"], {"segments": [SEGMENT], "words": WORDS}),
    ],
)
def test_verbose_json_has_what_is_asked_for(
    client: TestClient, graph: FakeGraph, granularities: list[str], parts: dict[str, Any]
) -> None:
    data = {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": granularities}
    assert client.post(TRANSCRIPTIONS, files=FILE, data=data).json() == {
        "task": "transcribe",
        "language": "english",
        "duration": 2.0,
        "text": "Hello there.",
        "usage": {"type": "duration", "seconds": 2.0},
        **parts,
    }
    assert task_of(graph).word_timestamps == ("word" in granularities)


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({}, "model"),
        ({"model": "whisper-1", "response_format": "xml"}, "response_format"),
        ({"model": "whisper-1", "response_format": "diarized_json"}, "response_format"),
        ({"model": "whisper-1", "temperature": "2"}, "temperature"),
        ({"model": "whisper-1", "temperature": "hot"}, "temperature"),
        ({"model": "whisper-1", "prompt": "a" * 3000}, "prompt"),
        ({"model": "whisper-1", "language": "klingon"}, "language"),
        ({"model": "whisper-1", "timestamp_granularities[]": "word"}, "timestamp_granularities[]"),
        (
            {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": "line"},
            "timestamp_granularities[]",
        ),
        ({"model": "whisper-1", "timestamp_granularities": "word"}, "timestamp_granularities"),
        ({"model": "whisper-1", "include[]": "logprobs"}, "include[]"),
        ({"model": "whisper-1", "chunking_strategy": '{"type": "server_vad"}'}, "chunking_strategy"),
        ({"model": "whisper-1", "options": '{"language": "de"}'}, "options"),
    ],
)
def test_wrong_options_are_refused_by_name(
    client: TestClient, graph: FakeGraph, path: str, data: dict[str, str], param: str
) -> None:
    error = error_of(client.post(path, files=FILE, data=data), 400)
    assert (error["param"] or "").startswith(param)
    assert graph.transcriber.calls == []


def test_another_model_is_not_found(client: TestClient) -> None:
    response = client.post(TRANSCRIPTIONS, files=FILE, data={"model": "moondream2"})
    assert error_of(response, 404)["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"file": ("a.wav", b"")}, "invalid_request"),
        ({"file": ("a.wav", b"hello there")}, "invalid_file_type"),
        ({"audio": ("a.wav", WAV)}, "invalid_request"),
        ([("file", ("a.wav", WAV)), ("file", ("b.wav", WAV))], "invalid_request"),
    ],
)
def test_wrong_files_are_refused(client: TestClient, files: Any, code: str) -> None:
    assert error_of(client.post(TRANSCRIPTIONS, files=files, data={"model": "whisper-1"}), 400)["code"] == code


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data", ""])
def test_other_bodies_than_forms_are_refused(client: TestClient, content_type: str) -> None:
    response = client.post(TRANSCRIPTIONS, content=b"{}", headers={"Content-Type": content_type})
    assert error_of(response, 400)["code"] == "invalid_request"


def test_a_form_that_breaks_off_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    assert error_of(client.post(TRANSCRIPTIONS, content=body, headers=headers), 400)["code"] == "invalid_request"


def test_nobody_speaks(client: TestClient, graph: FakeGraph) -> None:
    graph.transcriber.transcript = Transcript.empty(None, 2.0)
    data = {"model": "whisper-1", "response_format": "verbose_json"}
    body = client.post(TRANSCRIPTIONS, files=FILE, data=data).json()
    assert (body["language"], body["text"], body["segments"]) == ("und", "", [])
