"""A server with an encryption key writes neither the key nor what it keeps to the disk, in no log either."""

import hashlib
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import StartServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KEY = "zxqv-key-of-this-server-0123456789"
WORDS = "wordthatisnowhereelse"


def files_with(folder: Path, text: str) -> list[str]:
    """Return the files below a folder, Ray's logs among them, whose name or content has a text."""
    return [
        str(path)
        for path in folder.rglob("*")
        if text in path.name or (path.is_file() and text.encode() in path.read_bytes())
    ]


def test_neither_the_key_nor_the_text_is_in_any_file_of_the_server(start_server: StartServer) -> None:
    content = f"{WORDS}. ".encode() * 10_000
    with start_server(env={"PRISM_ENCRYPTION_KEY": KEY}, ready_path="/livez") as running:
        answer = requests.post(f"{running.url}/upload", files={"file": (f"{WORDS}.txt", content)}, timeout=60)
        assert answer.status_code == 200, answer.text
        file = f"{running.url}/files/{answer.json()['file_id']}"
        assert answer.json()["checksum"] == hashlib.sha256(content).hexdigest()
        part = requests.get(f"{file}/content", headers={"Range": "bytes=65530-65560"}, timeout=60)
        assert (part.status_code, part.content) == (206, content[65530:65561])
        checked = requests.post(f"{running.url}/library/verify", timeout=60).json()
        assert checked == {"problems": [], "repaired": []}
        shown = [
            requests.get(f"{running.url}{path}", timeout=60).text for path in ("/health", "/debug/stats", "/metrics")
        ]
        shown.append(requests.get(f"{running.url}/api/health", timeout=60).text)
        assert not any(KEY in text for text in shown)
        folder = running.log.parent
        assert files_with(folder, "encryption.json")  # so that it is the folder with everything in it
        assert files_with(folder, "replica_") or files_with(folder, "raylet")
        assert files_with(folder, KEY) == []
        assert files_with(folder, WORDS) == []
