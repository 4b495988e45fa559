from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.transcriber.types import AudioTrack, TranscribeTask, Transcript, TranscriptSegment, TranscriptWord
from tests.cues import read_cues
from tests.serve_app.conftest import MP4, WAV, MakeApi
from tests.serve_app.fakes import FakeGraph

DATA = Path(__file__).parent.parent / "data"
AUDIO = "/api/analyze/audio"


def post(client: TestClient, **options: Any) -> Any:
    return client.post(AUDIO, files={"audio": WAV}, data=options).json()


def test_the_answer_has_exactly_the_documented_shape(client: TestClient) -> None:
    body = post(client)
    assert body.pop("timestamp").endswith("Z")
    assert isinstance(body["metadata"].pop("processing_time_ms"), int)
    assert body == {
        "success": True,
        "type": "audio",
        "transcription": "Hello there.",
        "language": "en",
        "confidence": 0.9124,
        "segments": [{"start": 0.0, "end": 1.5, "text": "Hello there.", "language": "en", "confidence": 0.95}],
        "metadata": {"duration_seconds": 2.0, "model": "whisper-base"},
    }


def test_words_are_there_when_asked_for(client: TestClient, graph: FakeGraph) -> None:
    [segment] = post(client, word_level_timestamps="true")["segments"]
    assert segment["words"] == [{"word": "Hello", "start": 0.0, "end": 0.7, "confidence": 0.9}]
    assert graph.transcriber.calls[0][1] == TranscribeTask(None, word_timestamps=True)


def test_without_timestamps_there_are_no_times_and_no_words(client: TestClient, graph: FakeGraph) -> None:
    body = post(client, include_timestamps="false", word_level_timestamps="true")
    assert body["segments"] == [{"text": "Hello there.", "language": "en", "confidence": 0.95}]
    assert graph.transcriber.calls[0][1] == TranscribeTask(None, word_timestamps=False)


def test_of_several_sound_tracks_one_can_be_chosen_and_all_are_listed(client: TestClient, graph: FakeGraph) -> None:
    assert "tracks" not in post(client)["metadata"]
    tracks = [AudioTrack(1, "eng", "", "aac", 2, True), AudioTrack(2, "", "Commentary", "", 0, False)]
    graph.transcriber.transcript = replace(graph.transcriber.transcript, tracks=tracks, track=2)
    metadata = post(client, track="2")["metadata"]
    assert metadata["track"] == 2
    assert metadata["tracks"] == [
        {"number": 1, "language": "eng", "codec": "aac", "channels": 2, "is_default": True},
        {"number": 2, "title": "Commentary", "channels": 0, "is_default": False},
    ]
    assert graph.transcriber.calls[-1][1] == TranscribeTask(track=2)
    client.post("/api/analyze/video", files={"video": MP4}, data={"include_audio": "true", "track": "2"}).json()
    assert graph.transcriber.calls[-1][1] == TranscribeTask(track=2)


def test_subtitles_are_there_when_asked_for(client: TestClient, graph: FakeGraph) -> None:
    body = post(client, subtitles="true")
    assert body["subtitles"] == {
        "srt": "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n",
        "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHello\n\n",
    }
    assert "words" not in body["segments"][0]
    assert graph.transcriber.calls[0][1] == TranscribeTask(None, word_timestamps=True)


def two_speakers() -> Transcript:
    words = [TranscriptWord(" Hello", 0.0, 0.7, 0.9, "S1"), TranscriptWord(" Hi", 0.8, 1.2, 0.9, "S2")]
    segments = [
        TranscriptSegment(
            word.start_s, word.end_s, word.word.strip(), 0.95, [word], speaker=word.speaker, language="en"
        )
        for word in words
    ]
    return Transcript("Hello Hi", "en", 0.95, segments, 2.0)


def test_speakers_are_there_when_asked_for(client: TestClient, graph: FakeGraph) -> None:
    graph.transcriber.transcript = two_speakers()
    first, second = post(client, speakers="true")["segments"]
    assert first == {"start": 0.0, "end": 0.7, "text": "Hello", "language": "en", "confidence": 0.95, "speaker": "S1"}
    assert (second["speaker"], "words" in second) == ("S2", False)
    assert graph.transcriber.calls[-1][1] == TranscribeTask(None, word_timestamps=True, speakers=True)
    [word] = post(client, speakers="true", word_level_timestamps="true")["segments"][1]["words"]
    assert word["speaker"] == "S2"
    segments = post(client, speakers="true", include_timestamps="false")["segments"]
    assert [segment["speaker"] for segment in segments] == ["S1", "S2"]


def test_the_number_of_speakers_may_be_known(client: TestClient, graph: FakeGraph) -> None:
    post(client, num_speakers="2")
    task = TranscribeTask(None, word_timestamps=True, speakers=True, num_speakers=2)
    assert graph.transcriber.calls[-1][1] == task
    for number in ("0", "17", "two"):
        error = post(client, speakers="true", num_speakers=number)["error"]
        assert error["code"] == "INVALID_REQUEST"
        assert error["message"].startswith("Option 'num_speakers' should be ")


def test_no_subtitle_has_two_speakers(client: TestClient, graph: FakeGraph) -> None:
    graph.transcriber.transcript = two_speakers()
    cues = read_cues(post(client, speakers="true", subtitles="true")["subtitles"]["srt"])
    assert [text for *_, text in cues] == ["Hello", "Hi"]


def test_a_segment_that_may_be_invented_says_why(client: TestClient, graph: FakeGraph) -> None:
    segments = [
        TranscriptSegment(0.0, 1.5, "Thank you.", 0.2, suspect="no_speech"),
        TranscriptSegment(1.5, 2.0, "Hello.", 0.9),
    ]
    graph.transcriber.transcript = Transcript("Thank you. Hello.", "en", 0.4, segments, 2.0)
    first, second = post(client)["segments"]
    assert first["suspect"] == "no_speech"
    assert "suspect" not in second


def test_a_file_that_breaks_off_gets_a_warning_about_what_is_missing(client: TestClient, graph: FakeGraph) -> None:
    warning = "The file breaks off: its sound ends after 12.3 of 30.0 seconds."
    graph.transcriber.transcript = replace(graph.transcriber.transcript, warnings=[warning])
    assert post(client)["metadata"]["warnings"] == [warning]
    video = client.post("/api/analyze/video", files={"video": MP4}, data={"include_audio": "true"}).json()
    assert video["transcript"]["metadata"]["warnings"] == [warning]


def test_warnings_are_documented(client: TestClient) -> None:
    metadata = client.get("/openapi.json").json()["components"]["schemas"]["AudioMetadata"]
    assert metadata["properties"]["warnings"]["type"] == "array"
    assert "breaks off" in metadata["properties"]["warnings"]["description"]
    assert "warnings" not in metadata["required"]


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "image/png", "text/plain; charset=utf-8"])
@pytest.mark.parametrize("name", [path.name for path in sorted(DATA.iterdir()) if path.name.startswith("speech")])
def test_every_documented_type_is_accepted_whatever_its_name_and_content_type_say(
    client: TestClient, graph: FakeGraph, name: str, content_type: str | None
) -> None:
    content = (DATA / name).read_bytes()
    boundary = "7MA4YWxkTrZu0gW"
    header = f"Content-Type: {content_type}\r\n" if content_type else ""
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="audio"; filename="x.exe"\r\n{header}\r\n'
    body = part.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert client.post(AUDIO, content=body, headers=headers).status_code == 200
    assert graph.transcriber.calls[0][0] == content


def test_a_language_is_passed_on(client: TestClient, graph: FakeGraph) -> None:
    post(client, language="es")
    post(client, language="auto")
    post(client, language="pt-BR")
    post(client, language="German")
    assert [task.language for _, task in graph.transcriber.calls] == ["es", None, "pt", "de"]


def test_a_prompt_hotwords_and_translation_are_passed_on(client: TestClient, graph: FakeGraph) -> None:
    post(client, translate="true", prompt="Minutes.", hotwords="Grafana, Nguyen")
    assert graph.transcriber.calls[0][1] == TranscribeTask(None, translate=True, prompt="Grafana, Nguyen Minutes.")


def test_silence_gives_an_empty_transcription(client: TestClient, graph: FakeGraph) -> None:
    graph.transcriber.transcript = Transcript("", "und", 0.0, [], 3.0)
    body = post(client)
    assert (body["transcription"], body["language"], body["confidence"], body["segments"]) == ("", "und", 0.0, [])


def test_an_mp4_with_audio_only_is_accepted(client: TestClient, graph: FakeGraph) -> None:
    assert client.post(AUDIO, files={"audio": MP4}).status_code == 200
    assert graph.transcriber.calls


def test_a_timeout_says_how_far_it_got_and_what_to_change(make_api: MakeApi, graph: FakeGraph) -> None:
    graph.transcriber.seconds = 5
    body = post(TestClient(make_api(serving={"request_timeout_s": 0.5})))
    assert body["error"]["code"] == "TIMEOUT"
    assert "transcribed 10.0 of 45.2 s" in body["error"]["message"]
    assert "WHISPER_MODEL_SIZE" in body["error"]["message"]


@pytest.mark.parametrize("model", ["tiny", "small"])
def test_the_answer_names_the_model_that_serves(make_api: MakeApi, model: str) -> None:
    assert post(TestClient(make_api(transcriber={"model": model})))["metadata"]["model"] == f"whisper-{model}"
