import asyncio
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.captioner.types import CaptionProgress
from deployments.errors import InvalidFile, ServerBusy
from deployments.transcriber.types import Transcript, TranscriptProgress, TranscriptSegment
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import ORIGIN, WAV, MakeApi
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.openai.requests import chat, error_of

CHAT, TRANSCRIPTIONS = "/v1/chat/completions", "/v1/audio/transcriptions"


def parts_of(response: Any) -> list[Any]:
    """Return the data of a stream's events: JSON, but for the last one of a chat."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["access-control-allow-origin"] == ORIGIN
    data = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [part if part == "[DONE]" else json.loads(part) for part in data]


def test_a_chat_is_sent_as_it_is_written(client: TestClient, graph: FakeGraph, png_base64: str) -> None:
    graph.captioner.progress = [CaptionProgress(0.5), CaptionProgress(1.0, "a"), CaptionProgress(1.0, "a pict")]
    *chunks, done = parts_of(client.post(CHAT, json=chat(png_base64, stream=True)))
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["a", " pict", "ure", None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert len({(chunk["id"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == ["assistant", None, None, None]
    assert not any("usage" in chunk for chunk in chunks)


def test_the_usage_is_sent_if_it_is_asked_for(client: TestClient, png_base64: str) -> None:
    body = chat(png_base64, stream=True, stream_options={"include_usage": True})
    *_, usage, _ = parts_of(client.post(CHAT, json=body))
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 733, "completion_tokens": 2, "total_tokens": 735}


def test_a_transcript_is_sent_by_segments(client: TestClient, graph: FakeGraph) -> None:
    segments = [TranscriptSegment(0.0, 1.0, "Hello there.", 0.9), TranscriptSegment(1.0, 2.0, "And good bye.", 0.9)]
    graph.transcriber.progress = [TranscriptProgress("transcribe", 0.5, 2.0, 0, segments[:1])]
    graph.transcriber.transcript = Transcript("Hello there. And good bye.", "en", 0.9, segments, 2.0)
    response = client.post(TRANSCRIPTIONS, files={"file": WAV}, data={"model": "whisper-1", "stream": "true"})
    assert parts_of(response) == [
        {"type": "transcript.text.delta", "delta": "Hello there."},
        {"type": "transcript.text.delta", "delta": " And good bye."},
        {
            "type": "transcript.text.done",
            "text": "Hello there. And good bye.",
            "usage": {"type": "duration", "seconds": 2.0},
        },
    ]


def test_no_space_is_put_into_scripts_that_have_none(client: TestClient, graph: FakeGraph) -> None:
    segments = [TranscriptSegment(0.0, 1.0, "你好。", 0.9), TranscriptSegment(1.0, 2.0, "再见。", 0.9)]
    graph.transcriber.transcript = Transcript("你好。再见。", "zh", 0.9, segments, 2.0)
    response = client.post(TRANSCRIPTIONS, files={"file": WAV}, data={"model": "whisper-1", "stream": "true"})
    *deltas, done = parts_of(response)
    assert "".join(part["delta"] for part in deltas) == done["text"]


@pytest.mark.parametrize("response_format", ["verbose_json", "srt", "vtt"])
def test_other_forms_are_not_streamed(client: TestClient, response_format: str) -> None:
    data = {"model": "whisper-1", "stream": "true", "response_format": response_format}
    assert error_of(client.post(TRANSCRIPTIONS, files={"file": WAV}, data=data), 400)["param"] == "stream"


def test_an_error_before_the_first_part_has_its_status(client: TestClient, graph: FakeGraph, png_base64: str) -> None:
    graph.captioner.error = InvalidFile("The image cannot be decoded.")
    graph.captioner.progress = [CaptionProgress(0.5)]
    error = error_of(client.post(CHAT, json=chat(png_base64, stream=True)), 400)
    assert error["code"] == "invalid_file"
    assert error_of(client.post(CHAT, json=chat("aGVsbG8=", stream=True)), 400)["code"] == "invalid_file_type"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(ServerBusy("The captioner is busy."), "server_busy"), (RuntimeError("secret"), "processing_failed")],
)
def test_a_later_error_is_a_part(
    client: TestClient, graph: FakeGraph, png_base64: str, failure: Exception, kind: str
) -> None:
    graph.captioner.progress = [CaptionProgress(1.0, "a")]
    graph.captioner.error = failure
    first, last = parts_of(client.post(CHAT, json=chat(png_base64, stream=True)))
    assert first["choices"][0]["delta"]["content"] == "a"
    assert last["error"]["code"] == kind
    assert "secret" not in last["error"]["message"]


def test_a_client_that_leaves_ends_the_work(make_api: MakeApi, graph: FakeGraph, png_base64: str) -> None:
    graph.captioner.progress = [CaptionProgress(1.0, "a")]
    graph.captioner.seconds = 30
    body = json.dumps(chat(png_base64, stream=True)).encode()

    async def scenario() -> None:
        headers = {"Content-Type": "application/json", "Host": "localhost"}
        exchange = Exchange(CHAT, headers, [body], disconnects=True, leaves_after_s=0.5)
        await asyncio.wait_for(exchange.run(make_api()), 10)
        assert exchange.status == 200

    asyncio.run(scenario())
    assert (graph.captioner.num_cancelled, graph.captioner.num_running) == (1, 0)
