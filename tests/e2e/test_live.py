"""Live answers of a running server: server-sent events and the WebSocket."""

import json
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.sync.client import connect

from samples.running_server import RunningServer
from tests.e2e.client import DATA, ORIGIN, answer_of, post_file, replica_of
from tests.e2e.test_faults import RECOVERY_S, wait_until
from tests.e2e.test_limits import cpu_seconds_in
from tests.e2e.test_lost_replicas import wait_until_ready
from tests.serve_app.test_live import without_times

pytestmark = [pytest.mark.e2e, pytest.mark.faults]


@contextmanager
def follow(url: str, kind: str, path: Path, **options: Any) -> Iterator[Iterator[tuple[str, Any]]]:
    """Yield name and data of the events of an analysis, as they arrive; the client leaves with the block."""

    def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
        name = ""
        for line in lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    with (
        path.open("rb") as file,
        requests.post(
            f"{url}/api/analyze/{kind}",
            files={kind: file},
            data={name: str(value) for name, value in options.items()},
            headers={"Accept": "text/event-stream", "Origin": ORIGIN},
            stream=True,
            timeout=60,
        ) as response,
    ):
        assert response.status_code == 200, response.text
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert response.headers["X-Request-ID"]
        response.encoding = "utf-8"
        yield events(response.iter_lines(chunk_size=1, decode_unicode=True))


@pytest.mark.parametrize(
    ("kind", "file", "options"),
    [
        ("image", "picture.jpg", {"max_length": 40}),
        ("video", "clip.mp4", {"num_frames": 7, "include_audio": True}),
        ("audio", "speech.wav", {"word_level_timestamps": True}),
    ],
)
def test_a_stream_has_the_parts_of_the_plain_answer_and_ends_with_it(
    url: str, kind: str, file: str, options: dict[str, Any]
) -> None:
    with follow(url, kind, DATA / file, **options) as stream:
        events = list(stream)
    plain = without_times(answer_of(post_file(url, kind, DATA / file, **options)))
    assert events[0] == ("queued", {"position": 0})
    name, result = events[-1]
    assert name == "result"
    for body in (result := without_times(result), plain):
        body["metadata"] = {key: value for key, value in body["metadata"].items() if not key.startswith("reused")}
    assert result == plain
    parts = {name: [data for other, data in events if other == name] for name in ("token", "frame", "segment")}
    if kind == "image":
        assert "".join(data["text"] for data in parts["token"]) == plain["description"]
        return
    segments = plain["segments"] if kind == "audio" else plain["transcript"]["segments"]
    assert [data["segment"] for data in parts["segment"]] == segments
    assert [data["frame"] for data in parts["frame"]] == plain.get("frames", [])


def test_a_client_that_leaves_a_stream_ends_its_work(talkative: RunningServer) -> None:
    captioner = replica_of(talkative.pid, "Captioner")
    with follow(talkative.url, "video", DATA / "clip.mp4", num_frames=32, max_length=1024) as stream:
        names = {next(stream)[0] for _ in range(3)}
        assert "progress" in names
    wait_until(lambda: cpu_seconds_in(captioner, 1) < 0.3, 10)
    with follow(talkative.url, "image", DATA / "picture.jpg", max_length=700) as stream:
        while next(stream)[0] != "token":
            pass
    wait_until(lambda: cpu_seconds_in(captioner, 1) < 0.3, 10)


def test_a_transcriber_that_is_killed_costs_a_stream_nothing(server: RunningServer, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    with wave.open(str(DATA / "speech.wav")) as speech, wave.open(str(long), "wb") as file:
        file.setparams(speech.getparams())
        file.writeframes(speech.readframes(speech.getnframes()) * 40)
    segments = []
    with follow(server.url, "audio", long) as stream:
        for name, data in stream:
            if name == "segment":
                segments.append(data)
                if len(segments) == 1:
                    replica_of(server.pid, "Transcriber").kill()
    assert name == "result"
    assert len(segments) > 10
    assert segments == [{"index": index, "segment": segment} for index, segment in enumerate(data["segments"])]
    wait_until_ready(server.url)


def test_several_files_go_over_one_connection(url: str) -> None:
    files = {"1": ("image", "picture.jpg"), "2": ("video", "clip.mp4"), "3": ("audio", "speech.wav")}
    results: dict[str, Any] = {}

    def take(message: dict[str, Any]) -> None:
        assert message["event"] != "error", message
        if message["event"] == "result":
            results[message["id"]] = message["data"]

    with connect(f"ws{url.removeprefix('http')}/api/analyze/ws", origin=ORIGIN) as connection:  # type: ignore[arg-type]
        for file_id, (kind, file) in files.items():
            content = (DATA / file).read_bytes()
            connection.send(json.dumps({"id": file_id, "type": kind, "size": len(content)}))
            sent = 0
            while sent < len(content):
                message = json.loads(connection.recv(RECOVERY_S))
                take(message)
                if message["event"] == "credit":
                    end = sent + message["data"]["bytes"]
                    for start in range(sent, end, 2**20):
                        connection.send(content[start : min(end, start + 2**20)])
                    sent = end
        while len(results) < len(files):
            take(json.loads(connection.recv(RECOVERY_S)))
    assert {file_id: results[file_id]["type"] for file_id in files} == {"1": "image", "2": "video", "3": "audio"}
