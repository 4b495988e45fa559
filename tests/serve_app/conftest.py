import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from serve_app.api import create_api
from serve_app.settings import AppConfig
from tests.serve_app.fakes import FakeGraph

ORIGIN = "http://localhost:3000"
TEST_HOSTS = ["testserver", "localhost", "127.0.0.1", "[::1]"]
"""`testserver` is the name under which TestClient calls the app."""

MakeApi = Callable[..., FastAPI]


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def make_api(graph: FakeGraph) -> MakeApi:
    """Build the API over `graph`; settings are given by section, as in `serving={"request_timeout_s": 1}`."""

    def make(**sections: dict[str, Any]) -> FastAPI:
        serving = {"allowed_hosts": TEST_HOSTS, **sections.pop("serving", {})}
        return create_api(graph.context(AppConfig(**sections, serving=serving)))

    return make


@pytest.fixture
def client(make_api: MakeApi) -> TestClient:
    return TestClient(make_api(), headers={"Origin": ORIGIN})


@pytest.fixture(scope="session")
def png() -> bytes:
    return picture("PNG")


@pytest.fixture(scope="session")
def png_base64(png: bytes) -> str:
    return base64.b64encode(png).decode()


def picture(format_name: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 48), 80).convert("RGB").save(file, format_name)
    return file.getvalue()


MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(64)
"""An MP4 without readable tracks: it is accepted as video and as audio."""
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
