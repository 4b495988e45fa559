import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from deployments.captioner.weights import REPOSITORY, REVISION, TOKENIZER_REPOSITORY, TOKENIZER_REVISION
from deployments.transcriber.speakers import weights as voices
from deployments.weights import download
from tests.deployments.weights.hub import Hub, HubServer

COMMIT = "9a7d4024"
WEIGHTS = random.Random(0).randbytes(1_000_000)
WEIGHTS_PATH = f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that holds moondream2 and its tokenizer. HF_ENDPOINT points to it; waits between attempts are short."""
    hub = Hub()
    hub.add_repository(
        REPOSITORY,
        REVISION,
        COMMIT,
        {
            "config.json": b'{"model_type": "moondream1"}',
            "model.safetensors": WEIGHTS,
            "tokenizer.json": b"that of an older release",
            "moondream.py": b"raise SystemExit",
            "old/model.safetensors": b"not at the top",
        },
    )
    hub.add_repository(
        TOKENIZER_REPOSITORY, TOKENIZER_REVISION, TOKENIZER_REVISION, {"tokenizer.json": b"starmie " * 1000}
    )
    monkeypatch.setattr(download, "BACKOFF_S", (0.01, 0.02, 0.03))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HubServer(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def voices_content(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The content of the model that tells speakers apart, whose URL points to the test hub."""
    content = random.Random(3).randbytes(200_000)
    url = urlsplit(voices.FILE.url)
    hub.files[url.path] = content
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    pinned = replace(voices.FILE, url=hub.url + url.path, size=len(content), checksum=checksum)
    monkeypatch.setattr(voices, "FILE", pinned)
    return content


@pytest.fixture
def whisper_content(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The content of openai-whisper's model `base`, whose URL points to the test hub."""
    import whisper

    content = random.Random(1).randbytes(400_000)
    path = f"/main/whisper/models/{hashlib.sha256(content).hexdigest()}/base.pt"
    hub.files[path] = content
    monkeypatch.setitem(whisper._MODELS, "base", hub.url + path)
    return content
