import asyncio
import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from deployments.captioner.types import Caption, CaptionProgress, FrameFailure
from deployments.errors import ProcessingFailed
from deployments.transcriber.types import Transcript, TranscriptProgress, TranscriptSegment
from serve_app import server_sent_events
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import MP4, ORIGIN, WAV, MakeApi
from tests.serve_app.fakes import FakeGraph

EVENTS = {"Accept": "text/event-stream"}
FILES = {"image": b"", "video": MP4, "audio": WAV}


def events_of(text: str) -> list[tuple[str, Any]]:
    """Return name and data of each event of a stream."""
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]


def follow(client: TestClient, kind: str, file: bytes, **options: Any) -> list[tuple[str, Any]]:
    response = client.post(f"/api/analyze/{kind}", files={kind: file}, data=options, headers=EVENTS)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["access-control-allow-origin"] == ORIGIN
    return events_of(response.text)


def without_times(body: Any) -> Any:
    """Return a body without the fields that differ from request to request."""
    if isinstance(body, dict):
        volatile = ("timestamp", "processing_time_ms", "total_processing_time_ms")
        return {
            name: without_times(value) for name, value in body.items() if name not in volatile or type(value) is float
        }
    return [without_times(item) for item in body] if isinstance(body, list) else body


@pytest.mark.parametrize(
    ("kind", "options"), [("image", {}), ("video", {"include_audio": "true"}), ("audio", {"subtitles": "true"})]
)
def test_the_last_event_is_exactly_the_plain_routes_body(
    client: TestClient, png: bytes, kind: str, options: dict[str, str]
) -> None:
    file = FILES[kind] or png
    events = follow(client, kind, file, **options)
    plain = client.post(f"/api/analyze/{kind}", files={kind: file}, data=options).json()
    assert events[0] == ("queued", {"position": 0})
    assert events[-1][0] == "result"
    assert without_times(events[-1][1]) == without_times(plain)


def test_a_description_arrives_as_it_is_written(client: TestClient, png: bytes) -> None:
    events = follow(client, "image", png)
    assert [data["text"] for name, data in events if name == "token"] == ["a", " pic", "ture"]
    first = next(data for name, data in events if name == "progress")
    assert first == {"stage": "read", "fraction": 0.0, "eta_seconds": None}


def test_after_a_replay_no_text_comes_twice(client: TestClient, graph: FakeGraph, png: bytes) -> None:
    texts = ["", "a", "a pic", "", "a", "a pict"]
    graph.captioner.progress = [CaptionProgress(1.0, text) for text in texts]
    assert "".join(data["text"] for name, data in follow(client, "image", png) if name == "token") == "a picture"


def test_the_frames_of_a_video_arrive_one_by_one_and_then_the_summary(client: TestClient, graph: FakeGraph) -> None:
    graph.captioner.describe = lambda number: FrameFailure("No.") if number == 6 else Caption(f"frame {number}", "stop")
    events = follow(client, "video", MP4, num_frames="7")
    result = events[-1][1]
    assert [data for name, data in events if name == "frame"] == [
        {"index": index, "frame": frame} for index, frame in enumerate(result["frames"])
    ]
    assert result["frames"][6]["error"] == "No."
    assert [data for name, data in events if name == "summary"] == [{"text": result["summary"]}]
    fractions = [(data["stage"], data["fraction"]) for name, data in events if name == "progress"]
    assert fractions[0] == ("sample", None)
    assert ("frames", 0.0) in fractions


def segments(*texts: str) -> list[TranscriptSegment]:
    return [TranscriptSegment(float(k), k + 0.9, text, 0.9) for k, text in enumerate(texts)]


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_segments_arrive_once_each_also_after_a_replay(client: TestClient, graph: FakeGraph, kind: str) -> None:
    all_segments = segments("One.", "Two.", "Three.")
    graph.transcriber.transcript = Transcript("One. Two. Three.", "en", 0.9, all_segments, 3.0)
    graph.transcriber.progress = [
        TranscriptProgress("decode", None),
        TranscriptProgress("transcribe", 0.3, 3.0, 0, all_segments[:1]),
        TranscriptProgress("decode", None),
        TranscriptProgress("transcribe", 0.6, 3.0, 0, all_segments[:2]),
    ]
    events = follow(client, kind, FILES[kind], **({"include_audio": "true"} if kind == "video" else {}))
    result = events[-1][1] if kind == "audio" else events[-1][1]["transcript"]
    assert [data for name, data in events if name == "segment"] == [
        {"index": index, "segment": segment} for index, segment in enumerate(result["segments"])
    ]
    names = [name for name, _ in events]
    assert names.index("segment") < names.index("result")


def test_a_batch_says_which_file_an_event_is_about(client: TestClient, png_base64: str) -> None:
    broken = {"type": "image", "data": base64.b64encode(WAV).decode()}
    body = {"files": [{"type": "image", "data": png_base64}, broken]}
    response = client.post("/api/analyze/batch", json=body, headers=EVENTS)
    events = events_of(response.text)
    assert [data["file_index"] for name, data in events if name == "token"] == [0, 0, 0]
    result = events[-1][1]
    assert [data for name, data in events if name == "file"] == result["results"]
    assert [item["result"]["success"] for item in result["results"]] == [True, False]


def test_what_is_wrong_before_the_work_begins_has_its_status(client: TestClient, png: bytes) -> None:
    response = client.post("/api/analyze/image", files={"image": png}, data={"max_length": "0"}, headers=EVENTS)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_a_later_failure_is_the_last_event(client: TestClient, graph: FakeGraph, png: bytes, kind: str) -> None:
    graph.captioner.error = graph.transcriber.error = graph.frame_sampler.error = ProcessingFailed("It broke.")
    name, data = follow(client, kind, FILES[kind] or png)[-1]
    assert name == "error"
    assert data.keys() == {"success", "error", "timestamp"}
    assert data["error"]["code"] == "PROCESSING_FAILED"


def test_a_deadline_is_the_plain_routes_error(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    graph.captioner.seconds = 5
    client = TestClient(make_api(serving={"request_timeout_s": 0.3}), headers={"Origin": ORIGIN})
    name, data = follow(client, "image", png)[-1]
    plain = client.post("/api/analyze/image", files={"image": png}).json()
    assert (name, data["error"]) == ("error", plain["error"])


async def _stream(api: FastAPI, png: bytes, leaves_after_s: float) -> Exchange:
    boundary = b"--b\r\n"
    head = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    exchange = Exchange(
        "/api/analyze/image",
        {"Content-Type": "multipart/form-data; boundary=b", "Host": "testserver", **EVENTS},
        [boundary + head + png + b"\r\n--b--\r\n"],
        disconnects=True,
        leaves_after_s=leaves_after_s,
    )
    await exchange.run(api)
    return exchange


def test_a_client_that_leaves_ends_the_work_and_frees_its_place(
    make_api: MakeApi, graph: FakeGraph, png: bytes
) -> None:
    graph.captioner.seconds = 5
    api = make_api()

    async def run() -> None:
        exchange = await _stream(api, png, 0.2)
        assert exchange.status == 200
        assert graph.captioner.num_cancelled == 1
        assert graph.captioner.num_running == 0
        await api.state.context.admission.wait_until_idle()

    asyncio.run(run())


def test_comments_are_sent_while_nothing_happens(
    make_api: MakeApi, graph: FakeGraph, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_sent_events, "KEEP_ALIVE_S", 0.05)
    graph.captioner.seconds = 0.3
    response = TestClient(make_api()).post("/api/analyze/image", files={"image": png}, headers=EVENTS)
    assert ": still here\n\n" in response.text
    assert events_of(response.text)[-1][0] == "result"


def test_a_waiting_request_is_told_its_position(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    graph.captioner.seconds = 0.2
    api = make_api(serving={"max_concurrent_requests": 1})

    async def run() -> list[list[Any]]:
        exchanges = await asyncio.gather(*(_stream(api, png + bytes(k), 5.0) for k in range(3)))
        return [
            [
                data["position"]
                for name, data in events_of(b"".join(m.get("body", b"") for m in exchange.messages).decode())
                if name == "queued"
            ]
            for exchange in exchanges
        ]

    assert asyncio.run(run()) == [[0], [1, 0], [2, 1, 0]]


def test_past_requests_say_how_long_one_takes(client: TestClient, graph: FakeGraph, png: bytes) -> None:
    graph.captioner.seconds = 0.2
    graph.captioner.progress = [CaptionProgress(0.0), CaptionProgress(1.0, "a")]
    follow(client, "image", png)
    [first, *_] = [data for name, data in follow(client, "image", png) if name == "progress"]
    assert 0.2 <= first["eta_seconds"] < 2.0


def test_a_video_whose_summary_is_joined_has_an_estimate(make_api: MakeApi) -> None:
    client = TestClient(make_api(serving={"video_summary": "join"}), headers={"Origin": ORIGIN})
    follow(client, "video", MP4)
    [first, *_] = [data for name, data in follow(client, "video", MP4) if name == "progress"]
    assert first["eta_seconds"] is not None


def test_reused_work_does_not_count_as_fast(client: TestClient, graph: FakeGraph, png: bytes) -> None:
    async def reused(*args: Any, **kwargs: Any) -> Any:
        answer = await type(graph.captioner).caption_image(graph.captioner, *args, **kwargs)
        return replace(answer, caption=replace(answer.caption, reused="answer"))

    graph.captioner.caption_image = reused  # type: ignore[method-assign]
    for _ in range(2):
        events = follow(client, "image", png)
    assert all(data["eta_seconds"] is None for name, data in events if name == "progress")
