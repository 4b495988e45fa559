"""The MCP SDK's own client, connected to the app without a network."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from serve_app.api import create_api
from serve_app.settings import AppConfig
from tests.serve_app.conftest import MP4, TEST_HOSTS, WAV
from tests.serve_app.fakes import FakeGraph

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def folder(tmp_path: Path, png: bytes) -> Path:
    """A folder that tools may read, beside a file that they may not."""
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "picture.png").write_bytes(png)
    (allowed / "clip.mp4").write_bytes(MP4)
    (allowed / "speech.wav").write_bytes(WAV)
    (tmp_path / "secret.png").write_bytes(png)
    return allowed


@pytest.fixture
def connect(graph: FakeGraph, folder: Path) -> Connect:
    """Connect a client; settings are given by section."""

    @asynccontextmanager
    async def connected(mode: str = "auto", **sections: dict[str, Any]) -> AsyncIterator[Client]:
        serving = {"allowed_hosts": TEST_HOSTS, "mcp_folders": [str(folder)], **sections.pop("serving", {})}
        api = create_api(graph.context(AppConfig(**sections, serving=serving)))
        async with (
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api)) as http_client,
            Client(streamable_http_client("http://testserver/mcp", http_client=http_client), mode=mode) as client,
        ):
            yield client

    return connected
