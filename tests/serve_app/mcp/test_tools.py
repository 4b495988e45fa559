import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult

from deployments.captioner.types import CaptionProgress, CaptionTask
from deployments.transcriber.types import TranscribeTask
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.mcp.conftest import Connect


def run(connect: Connect, use: Callable[[Client], Awaitable[Any]], **settings: Any) -> Any:
    async def scenario() -> Any:
        async with connect(**settings) as client:
            return await use(client)

    return asyncio.run(scenario())


def call(connect: Connect, tool: str, arguments: dict[str, Any], **settings: Any) -> CallToolResult:
    result = run(connect, lambda client: client.call_tool(tool, arguments), **settings)
    assert isinstance(result, CallToolResult)
    return result


def body_of(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result
    [content] = result.content
    assert content.type == "text"
    assert json.loads(content.text) == result.structured_content
    body: dict[str, Any] = result.structured_content
    return body


def error_of(result: CallToolResult) -> dict[str, str]:
    assert result.is_error
    [content] = result.content
    assert content.type == "text"
    error: dict[str, str] = result.structured_content["error"]
    assert content.text.startswith(error["message"])
    return error


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_each_tool_says_what_it_takes(connect: Connect, mode: str) -> None:
    tools = run(connect, lambda client: client.list_tools(), mode=mode).tools
    assert [tool.name for tool in tools] == [
        "describe_image",
        "ask_about_image",
        "analyze_video",
        "transcribe",
        "search",
        "answer",
    ]
    assert all(tool.description and tool.annotations.read_only_hint for tool in tools)
    for tool in tools[:4]:
        assert "path" in tool.input_schema["required"]
        assert tool.input_schema["additionalProperties"] is False
        assert len(json.dumps(tool.input_schema)) < 3000  # every model that may call it reads it


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_picture_is_described(connect: Connect, graph: FakeGraph, folder: Path, png: bytes, mode: str) -> None:
    body = body_of(call(connect, "describe_image", {"path": f"{folder}/picture.png"}, mode=mode))
    assert (body["type"], body["description"]) == ("image", "a picture")
    assert graph.captioner.calls == [(png, CaptionTask(200))]
    assert len(graph.freed) == 1


def test_a_question_about_a_picture(connect: Connect, graph: FakeGraph, folder: Path, png: bytes) -> None:
    arguments = {"path": f"{folder}/picture.png", "question": "What is it?", "max_length": 30}
    body_of(call(connect, "ask_about_image", arguments))
    assert graph.captioner.calls == [(png, CaptionTask(30, question="What is it?"))]


def test_a_video(connect: Connect, folder: Path) -> None:
    arguments = {"path": f"{folder}/clip.mp4", "num_frames": 2, "include_audio": True}
    body = body_of(call(connect, "analyze_video", arguments))
    assert body["summary"] == "summary of frame 0, frame 1"
    assert body["transcript"]["transcription"] == "Hello there."


def test_a_recording(connect: Connect, graph: FakeGraph, folder: Path) -> None:
    body = body_of(call(connect, "transcribe", {"path": f"{folder}/speech.wav", "language": "German"}))
    assert body["transcription"] == "Hello there."
    [(_, task)] = graph.transcriber.calls
    assert task == TranscribeTask(language="de")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_caller_may_follow_the_progress(connect: Connect, graph: FakeGraph, folder: Path, mode: str) -> None:
    graph.captioner.progress = [CaptionProgress(0.4), CaptionProgress(1.0, "a"), CaptionProgress(1.0, "a pict")]
    reports: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, message))

    async def use(client: Client) -> Any:
        return await client.call_tool("describe_image", {"path": f"{folder}/picture.png"}, progress_callback=note)

    body_of(run(connect, use, mode=mode))
    assert reports == [(1, "read 40%"), (2, "write")]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("describe_image", {}, "INVALID_REQUEST"),
        ("describe_image", {"path": ""}, "INVALID_REQUEST"),
        ("describe_image", {"path": 1}, "INVALID_REQUEST"),
        ("describe_image", {"path": "picture.png"}, "INVALID_REQUEST"),
        ("describe_image", {"path": "{folder}/picture.png", "max_length": 0}, "INVALID_REQUEST"),
        ("describe_image", {"path": "{folder}/picture.png", "shell": "ls"}, "INVALID_REQUEST"),
        ("ask_about_image", {"path": "{folder}/picture.png"}, "INVALID_REQUEST"),
        ("describe_image", {"path": "{folder}/../secret.png"}, "FORBIDDEN"),
        ("describe_image", {"path": "/etc/passwd"}, "FORBIDDEN"),
        ("describe_image", {"path": "{folder}/nothing.png"}, "NOT_FOUND"),
        ("describe_image", {"path": "{folder}/speech.wav"}, "INVALID_FILE_TYPE"),
        ("transcribe", {"path": "{folder}/empty.wav"}, "INVALID_FILE"),
        ("transcribe", {"path": "{folder}"}, "FORBIDDEN"),
        ("transcribe", {"path": "{folder}/folder.wav"}, "INVALID_FILE"),
        ("transcribe", {"path": "{folder}/speech.wav", "language": "klingon"}, "INVALID_REQUEST"),
        ("search", {}, "INVALID_REQUEST"),
        ("search", {"query": "a", "limit": 1000}, "INVALID_REQUEST"),
        ("delete_everything", {}, "INVALID_REQUEST"),
    ],
)
def test_what_cannot_be_done_is_an_answer_that_says_why(
    connect: Connect, graph: FakeGraph, folder: Path, tool: str, arguments: dict[str, Any], code: str
) -> None:
    (folder / "empty.wav").touch()
    (folder / "folder.wav").mkdir()
    filled = {
        name: value.format(folder=folder) if isinstance(value, str) else value for name, value in arguments.items()
    }
    assert error_of(call(connect, tool, filled))["code"] == code
    assert graph.captioner.calls == graph.transcriber.calls == []


def test_without_the_setting_no_file_is_read(connect: Connect, folder: Path) -> None:
    result = call(connect, "describe_image", {"path": f"{folder}/picture.png"}, serving={"mcp_folders": []})
    assert "MCP_FOLDERS" in error_of(result)["message"]


def test_a_file_over_the_limit_is_not_read(connect: Connect, folder: Path) -> None:
    result = call(connect, "describe_image", {"path": f"{folder}/picture.png"}, limits={"image_mb": 0.001})
    assert error_of(result)["code"] == "FILE_TOO_LARGE"


def test_a_busy_server_says_when_to_come_again(connect: Connect, graph: FakeGraph, folder: Path) -> None:
    graph.system.free_mb = 1
    result = call(connect, "describe_image", {"path": f"{folder}/picture.png"})
    assert error_of(result)["code"] == "SERVER_BUSY"
    assert "Try again in" in result.content[0].text  # type: ignore[union-attr]


def test_the_rate_limit_counts_calls(connect: Connect, folder: Path) -> None:
    async def two_calls(client: Client) -> list[Any]:
        return [await client.call_tool("describe_image", {"path": f"{folder}/picture.png"}) for _ in range(2)]

    first, second = run(connect, two_calls, serving={"requests_per_hour": 1})
    body_of(first)
    assert error_of(second)["code"] == "RATE_LIMITED"


def test_a_call_ends_at_its_deadline(connect: Connect, graph: FakeGraph, folder: Path) -> None:
    graph.captioner.seconds = 30
    result = call(connect, "describe_image", {"path": f"{folder}/picture.png"}, serving={"request_timeout_s": 0.3})
    assert error_of(result)["code"] == "TIMEOUT"


def test_an_unexpected_error_has_no_details(connect: Connect, graph: FakeGraph, folder: Path) -> None:
    graph.captioner.error = RuntimeError("secret")
    error = error_of(call(connect, "describe_image", {"path": f"{folder}/picture.png"}))
    assert error["code"] == "PROCESSING_FAILED"
    assert "secret" not in error["message"]
