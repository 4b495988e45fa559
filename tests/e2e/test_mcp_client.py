"""The MCP SDK's own client on a running server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult

from samples.running_server import RunningServer
from tests.data.contents import SENTENCE
from tests.e2e.client import DATA, replica_of
from tests.e2e.library import LibraryClient
from tests.e2e.test_faults import wait_until
from tests.e2e.test_limits import cpu_seconds_in

pytestmark = pytest.mark.e2e


def with_client(url: str, use: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    async def scenario() -> Any:
        async with Client(f"{url}/mcp", mode=mode) as client:
            return await use(client)

    return asyncio.run(scenario())


def call(url: str, tool: str, mode: str = "auto", **arguments: Any) -> CallToolResult:
    result = with_client(url, lambda client: client.call_tool(tool, arguments), mode)
    assert isinstance(result, CallToolResult)
    return result


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_pictures_recordings_and_videos(url: str, mode: str) -> None:
    picture = call(url, "describe_image", mode, path=str(DATA / "picture.jpg"))
    assert picture.structured_content["description"]
    answer = call(url, "ask_about_image", mode, path=str(DATA / "picture.jpg"), question="What is in this image?")
    assert answer.structured_content["description"]
    speech = call(url, "transcribe", mode, path=str(DATA / "speech.mp3"))
    assert speech.structured_content["transcription"] == SENTENCE
    video = call(url, "analyze_video", mode, path=str(DATA / "clip.mp4"), num_frames=2)
    assert len(video.structured_content["frames"]) == 2


def test_files_outside_the_folders_stay_unread(url: str) -> None:
    for path in ("/etc/passwd", f"{DATA}/../e2e/client.py", "/proc/self/environ"):
        result = call(url, "transcribe", path=path)
        assert result.is_error
        assert result.structured_content["error"]["code"] == "FORBIDDEN"


def test_the_library_is_searched_and_asked(url: str) -> None:
    library = LibraryClient(url)
    file_id = library.add("allowances.txt", b"The travel allowance is 72 florins a day. It is paid in March.")
    library.until(file_id, ["completed"])
    found = call(url, "search", query="money for journeys", limit=3)
    assert "72 florins" in found.structured_content["results"][0]["metadata"]["text"]
    answer = call(url, "answer", question="What is the travel allowance?")
    assert "72 florins" in answer.structured_content["response"]
    assert answer.structured_content["citations"][0]["file_id"] == file_id
    library.delete(file_id)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_client_that_closes_its_connection_ends_the_work(talkative: RunningServer, mode: str) -> None:
    captioner = replica_of(talkative.pid, "Captioner")
    messages: list[str | None] = []
    at_work = asyncio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        messages.append(message)
        at_work.set()

    async def use(client: Client) -> None:
        arguments = {"path": str(DATA / "clip.mp4"), "num_frames": 32, "max_length": 1024}
        calling = asyncio.ensure_future(client.call_tool("analyze_video", arguments, progress_callback=note))
        await asyncio.wait_for(at_work.wait(), 30)
        calling.cancel()
        await asyncio.wait({calling})

    with_client(talkative.url, use, mode)
    assert messages
    wait_until(lambda: cpu_seconds_in(captioner, 1) < 0.3, 10)
