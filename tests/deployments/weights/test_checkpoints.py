import hashlib
import json
import threading
from pathlib import Path

import pytest

from deployments.captioner.settings import CaptionerConfig
from deployments.captioner.weights import MoondreamFiles, ensure_moondream, official_checkpoint
from deployments.errors import ModelNotLoaded
from deployments.project import project_folder
from deployments.transcriber.settings import TranscriberConfig
from deployments.transcriber.weights import WhisperFile, ensure_whisper
from deployments.weights import download
from tests.deployments.weights.conftest import COMMIT, WEIGHTS, WEIGHTS_PATH
from tests.deployments.weights.hub import (
    Hub,
    answers,
    breaks_off_after,
    ends_early_without_content_length,
    flips_a_bit,
    forgets_ranges,
    pauses_halfway,
    redirects_to,
    sends_nothing_for,
    sends_slowly,
)

MOONDREAM = CaptionerConfig()
WHISPER = TranscriberConfig()


def ignore(line: str) -> None:
    pass


def test_moondream_is_fetched_with_the_tokenizer_it_was_trained_with(hub: Hub, tmp_path: Path) -> None:
    files = ensure_moondream(MOONDREAM, tmp_path, ignore)

    folder = tmp_path / "moondream2-2025-06-21"
    assert files == MoondreamFiles(
        name="moondream2",
        revision="2025-06-21",
        config=folder / "config.json",
        weights=(folder / "model.safetensors",),
        tokenizer=folder / "tokenizer.json",
    )
    assert files.weights[0].read_bytes() == WEIGHTS
    assert files.tokenizer.read_bytes() == b"starmie " * 1000


def test_only_needed_files_are_in_the_cache(hub: Hub, tmp_path: Path) -> None:
    folder = ensure_moondream(MOONDREAM, tmp_path, ignore).tokenizer.parent
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "manifest.json"}


def test_the_manifest_has_sizes_checksums_and_commit(hub: Hub, tmp_path: Path) -> None:
    folder = ensure_moondream(MOONDREAM, tmp_path, ignore).tokenizer.parent
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {
        "name": "model.safetensors",
        "origin": f"vikhyatk/moondream2@{COMMIT}",
        "size": len(WEIGHTS),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    } in manifest["files"]
    config = next(file for file in manifest["files"] if file["name"] == "config.json")
    assert config["sha256"] == hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()


def test_a_complete_cache_makes_no_request(hub: Hub, tmp_path: Path) -> None:
    fetched = ensure_moondream(MOONDREAM, tmp_path, ignore)
    hub.requests.clear()
    assert ensure_moondream(MOONDREAM, tmp_path, ignore) == fetched
    assert hub.requests == []


def test_no_token_or_password_is_sent(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert hub.requests
    assert not any("secret" in str(request.headers) or "Authorization" in request.headers for request in hub.requests)


def test_whisper_is_fetched_from_its_own_url(hub: Hub, whisper_content: bytes, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(whisper_content).hexdigest()
    file = ensure_whisper(WHISPER, tmp_path, ignore)
    assert file == WhisperFile("whisper-base", tmp_path / "whisper-base" / "base.pt", sha256[:12])
    assert file.path.read_bytes() == whisper_content
    hub.requests.clear()
    assert ensure_whisper(WHISPER, tmp_path, ignore) == file
    assert hub.requests == []


def test_a_whisper_file_with_a_wrong_byte_is_refused(hub: Hub, whisper_content: bytes, tmp_path: Path) -> None:
    (path,) = (path for path in hub.files if path.endswith("base.pt"))
    hub.files[path] = b"x" + whisper_content[1:]
    with pytest.raises(ModelNotLoaded, match="checksum"):
        ensure_whisper(WHISPER, tmp_path, ignore)
    assert not list(tmp_path.rglob("base.pt*"))


def test_a_download_is_resumed_after_a_lost_connection(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [breaks_off_after(600_000), breaks_off_after(200_000)]
    files = ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert files.weights[0].read_bytes() == WEIGHTS
    first, second, third = hub.ranges("model.safetensors")
    assert first is None
    kept = [int((header or "").removeprefix("bytes=").removesuffix("-")) for header in (second, third)]
    assert 600_000 - download.CHUNK_BYTES <= kept[0] <= 600_000
    assert kept[0] < kept[1] <= 800_000


def test_a_response_that_ends_early_is_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [ends_early_without_content_length]
    assert ensure_moondream(MOONDREAM, tmp_path, ignore).weights[0].read_bytes() == WEIGHTS
    assert hub.ranges("model.safetensors") == [None, "bytes=500000-"]


def test_redirected_downloads_are_fetched_and_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.files["/cdn/weights"] = WEIGHTS
    hub.faults[WEIGHTS_PATH] = [redirects_to("/cdn/weights")] * 2
    hub.faults["/cdn/weights"] = [breaks_off_after(600_000)]
    assert ensure_moondream(MOONDREAM, tmp_path, ignore).weights[0].read_bytes() == WEIGHTS
    assert hub.ranges("/cdn/weights")[1] is not None


def test_an_attempt_that_receives_bytes_resets_the_count_of_failures(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [breaks_off_after(150_000)] * 5
    ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert len(hub.ranges("model.safetensors")) == 6 > len(download.BACKOFF_S) + 1


def test_an_incomplete_file_is_resumed_by_the_next_start(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [breaks_off_after(600_000)] + [answers(503)] * 4
    with pytest.raises(ModelNotLoaded, match="503"):
        ensure_moondream(MOONDREAM, tmp_path, ignore)
    hub.requests.clear()
    files = ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert files.weights[0].read_bytes() == WEIGHTS
    assert hub.ranges("model.safetensors")[0] is not None
    assert hub.ranges("config.json") == []


def test_a_server_that_cannot_resume_sends_everything_again(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [breaks_off_after(600_000), forgets_ranges]
    assert ensure_moondream(MOONDREAM, tmp_path, ignore).weights[0].read_bytes() == WEIGHTS


def test_a_refused_range_starts_the_file_again(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [breaks_off_after(600_000), answers(416)]
    assert ensure_moondream(MOONDREAM, tmp_path, ignore).weights[0].read_bytes() == WEIGHTS
    assert hub.ranges("model.safetensors")[2] is None


def test_a_partial_file_with_a_wrong_byte_is_removed(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [flips_a_bit]
    with pytest.raises(ModelNotLoaded, match=r"model\.safetensors arrived damaged") as error:
        ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert "`prism weights fetch`" in str(error.value)
    assert "`prism serve --mini`" in str(error.value)
    assert not list(tmp_path.rglob("model.safetensors*"))
    assert ensure_moondream(MOONDREAM, tmp_path, ignore).weights[0].read_bytes() == WEIGHTS


def test_a_wrong_byte_in_a_small_file_is_found_by_its_git_id(hub: Hub, tmp_path: Path) -> None:
    hub.faults[f"/vikhyatk/moondream2/resolve/{COMMIT}/config.json"] = [flips_a_bit]
    with pytest.raises(ModelNotLoaded, match=r"config\.json arrived damaged"):
        ensure_moondream(MOONDREAM, tmp_path, ignore)


def test_a_file_longer_than_listed_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files[WEIGHTS_PATH] = WEIGHTS + b"more"
    with pytest.raises(ModelNotLoaded, match="larger than the 1000000 bytes"):
        ensure_moondream(MOONDREAM, tmp_path, ignore)


def test_a_server_error_is_tried_again(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS_PATH] = [answers(503), answers(429)]
    ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert len(hub.ranges("model.safetensors")) == 3


def test_a_silent_server_is_tried_again(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    hub.faults[WEIGHTS_PATH] = [sends_nothing_for(0.5)]
    ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert len(hub.ranges("model.safetensors")) == 2


def test_a_slow_server_is_waited_for(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.5)
    hub.faults[WEIGHTS_PATH] = [sends_slowly]
    ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert len(hub.ranges("model.safetensors")) == 1


def test_a_missing_file_is_not_tried_again(hub: Hub, tmp_path: Path) -> None:
    del hub.files[WEIGHTS_PATH]
    with pytest.raises(ModelNotLoaded, match="answers .* with status 404"):
        ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert len(hub.ranges("model.safetensors")) == 1


def test_a_missing_hub_is_reported_with_the_commands_that_help(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelNotLoaded, match=r"127\.0\.0\.1:1 .*no connection") as error:
        ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert "`prism weights fetch`" in str(error.value)
    assert "`prism serve --mini`" in str(error.value)


@pytest.mark.parametrize("page", [b"<html>Log in to this network</html>", b'{"error": "gone"}', b"[]"])
def test_a_server_that_is_not_a_hub_is_recognised(hub: Hub, tmp_path: Path, page: bytes) -> None:
    hub.files["/api/models/vikhyatk/moondream2/revision/2025-06-21"] = page
    with pytest.raises(ModelNotLoaded, match="does not answer"):
        ensure_moondream(MOONDREAM, tmp_path, ignore)


def test_a_hub_that_lists_no_weights_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.add_repository("vikhyatk/moondream2", "2025-06-21", COMMIT, {"config.json": b"{}"})
    with pytest.raises(ModelNotLoaded, match=r"\*\.safetensors"):
        ensure_moondream(MOONDREAM, tmp_path, ignore)


def test_a_disk_too_small_is_refused_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "free_bytes", lambda folder: 900_000)
    with pytest.raises(ModelNotLoaded, match=r"1\.0 MB into .* 900\.0 kB are free"):
        ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert hub.ranges("model.safetensors") == []


def test_a_partial_file_reduces_the_disk_space_that_is_needed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "moondream2-2025-06-21"
    folder.mkdir()
    (folder / "model.safetensors.part").write_bytes(WEIGHTS[:500_000])
    monkeypatch.setattr(download, "free_bytes", lambda folder: 600_000)
    assert ensure_moondream(MOONDREAM, tmp_path, ignore).weights[0].read_bytes() == WEIGHTS


def test_a_cache_that_cannot_be_written_is_reported(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelNotLoaded, match="cannot be used"):
        ensure_moondream(MOONDREAM, tmp_path / "file", ignore)


def test_progress_has_file_and_sizes(hub: Hub, tmp_path: Path) -> None:
    lines: list[str] = []
    ensure_moondream(MOONDREAM, tmp_path, lines.append)
    assert lines[0] == "looking up the files of moondream2"
    assert "model.safetensors (1.0 MB)" in lines[1]
    assert "free" in lines[1]
    assert "fetching model.safetensors, 1.0 MB of 1.0 MB" in lines


def test_two_fetchers_at_once_share_one_download(hub: Hub, tmp_path: Path) -> None:
    second_waits = threading.Event()
    hub.faults[WEIGHTS_PATH] = [pauses_halfway(second_waits)]
    results: list[MoondreamFiles] = []
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if line.startswith("waiting"):
            second_waits.set()

    threads = [
        threading.Thread(target=lambda: results.append(ensure_moondream(MOONDREAM, tmp_path, report))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert results[0].weights[0].read_bytes() == WEIGHTS
    assert len(hub.ranges("model.safetensors")) == 1
    assert "waiting for another process that is working on the files of moondream2" in lines


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_a_missing_file_is_fetched_again_and_the_rest_is_kept(hub: Hub, tmp_path: Path, name: str) -> None:
    files = ensure_moondream(MOONDREAM, tmp_path, ignore)
    (files.tokenizer.parent / name).unlink()
    hub.requests.clear()
    assert ensure_moondream(MOONDREAM, tmp_path, ignore) == files
    assert (files.tokenizer.parent / name).is_file()
    assert hub.ranges("model.safetensors") == []


def test_a_damaged_manifest_is_written_again(hub: Hub, tmp_path: Path) -> None:
    manifest = ensure_moondream(MOONDREAM, tmp_path, ignore).tokenizer.with_name("manifest.json")
    content = manifest.read_text()
    manifest.write_text(content[:40])
    ensure_moondream(MOONDREAM, tmp_path, ignore)
    assert manifest.read_text() == content


def make_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "expected.safetensors"):
        (folder / name).touch()
    return folder


def test_a_folder_is_a_checkpoint_with_the_name_of_the_folder(hub: Hub, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "moondream2-mini")
    assert ensure_moondream(CaptionerConfig(model=str(folder)), tmp_path, ignore) == MoondreamFiles(
        name="moondream2-mini",
        revision=None,
        config=folder / "config.json",
        weights=(folder / "model.safetensors",),
        tokenizer=folder / "tokenizer.json",
    )
    assert hub.requests == []


def test_a_folder_without_config_has_none(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "mine")
    (folder / "config.json").unlink()
    assert ensure_moondream(CaptionerConfig(model=str(folder)), tmp_path, ignore).config is None


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_the_error_of_a_miniature_that_lacks_a_file_names_it_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("deployments.settings.project_folder", lambda: tmp_path)
    folder = make_checkpoint(tmp_path / "checkpoints/mini/moondream-mini")
    (folder / name).unlink()
    settings = CaptionerConfig(model="checkpoints/mini/moondream-mini")
    with pytest.raises(ModelNotLoaded, match=r"`git checkout -- checkpoints/mini`") as error:
        ensure_moondream(settings, tmp_path, ignore)
    assert str(folder / name) in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_the_error_of_a_users_checkpoint_that_lacks_a_file_names_it_and_the_setting(tmp_path: Path, name: str) -> None:
    folder = make_checkpoint(tmp_path / "mine")
    (folder / name).unlink()
    with pytest.raises(ModelNotLoaded, match=r"Correct the path in `captioner\.model`, .*: moondream2\.") as error:
        ensure_moondream(CaptionerConfig(model=str(folder)), tmp_path, ignore)
    assert str(folder / name) in str(error.value)
    assert "mini" not in str(error.value)


def test_paths_are_relative_to_the_project(tmp_path: Path) -> None:
    with pytest.raises(ModelNotLoaded) as error:
        ensure_whisper(TranscriberConfig(model="checkpoints/none/whisper-mini.pt"), tmp_path, ignore)
    assert str(project_folder() / "checkpoints/none/whisper-mini.pt") in str(error.value)


def test_a_pt_file_is_a_checkpoint_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "whisper-mini.pt"
    path.touch()
    assert ensure_whisper(TranscriberConfig(model=str(path)), tmp_path, ignore) == WhisperFile(
        "whisper-mini", path, None
    )


def test_a_flipped_byte_is_damage_and_fetching_repairs_it(hub: Hub, tmp_path: Path) -> None:
    path = ensure_moondream(MOONDREAM, tmp_path, ignore).weights[0]
    official = official_checkpoint(MOONDREAM, tmp_path)
    assert official
    assert official.find_damage(ignore) == []
    path.write_bytes(b"\0" + WEIGHTS[1:])
    assert official.find_damage(ignore) == [f"{path} is damaged: its checksum is wrong."]
    hub.requests.clear()
    official.fetch(ignore, lambda name, done, size: None)
    assert path.read_bytes() == WEIGHTS
    assert hub.ranges("config.json") == []
