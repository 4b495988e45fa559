"""`prism backup` copies a library that a server is using, and `prism restore` brings all of it back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from deployments.errors import Conflict
from deployments.library import backup
from deployments.library.settings import LibraryConfig
from tests.prism.library.conftest import Prism
from tests.prism.library.served import serving_library
from tests.serve_app.fakes import FakeGraph

KEY = "zxqv-key-of-this-library"
QUERY = "When are plum trees pruned?"


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The key in the environment, or None."""
    monkeypatch.setenv("PRISM_ENCRYPTION_KEY", request.param or "")
    return request.param


def state(url: str) -> dict[str, Any]:
    """Return what clients see of a library: its files with their text, a search, and an original."""
    files = requests.get(f"{url}/files", timeout=60).json()["files"]
    return {
        "files": files,
        "content": [
            requests.get(f"{url}/files/{file['file_id']}?include_content=true", timeout=60).json()["content"]
            for file in files
        ],
        "originals": [requests.get(f"{url}/files/{file['file_id']}/content", timeout=60).content for file in files],
        "results": requests.post(f"{url}/search", json={"query": QUERY}, timeout=60).json()["results"],
        "history": requests.get(f"{url}/search/history", timeout=60).json()["history"][1:],
    }


def test_a_backup_of_a_running_server_is_restored_with_everything(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "library"))
    with serving_library(graph, tmp_path / "library", encryption_key=key) as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
        state(url)  # so that there is a history
        before = state(url)
        status, text = run("backup", tmp_path / "copy")
        assert status == 0, text
        assert "2 files, 2 of them copied now" in text
        requests.delete(f"{url}/files/{before['files'][0]['file_id']}", timeout=60)
    assert [hit["metadata"]["filename"] for hit in before["results"]][0] == "plum.md"

    monkeypatch.setenv("DATA_DIR", str(tmp_path / "restored"))
    status, text = run("restore", tmp_path / "copy")
    assert status == 0, text
    assert text.endswith("The library is in order.\n")
    with serving_library(FakeGraph(), tmp_path / "restored", encryption_key=key) as url:
        after = state(url)
    assert after == {**before, "history": after["history"]}
    assert [entry["query"] for entry in after["history"]][1:] == [entry["query"] for entry in before["history"]]


def test_the_next_backup_copies_what_is_new_and_forgets_what_was_deleted(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "library"))
    with serving_library(graph, tmp_path / "library", encryption_key=key) as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
        assert run("backup", tmp_path / "copy")[0] == 0
        requests.delete(f"{url}/files/1", timeout=60)
        (notes / "sail.txt").write_text("The sail is mended in April.")
        assert run("add", "--url", url, "--wait", notes / "sail.txt")[0] == 0
        status, text = run("backup", tmp_path / "copy")
    assert "2 files, 1 of them copied now" in text
    assert len(originals(tmp_path / "copy")) == 2
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "copy"))  # a backup is a library itself
    status, text = run("verify", "--url", "http://127.0.0.1:9")
    assert status == 0, text


def originals(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and len(path.name) == 64]


def test_a_file_that_is_deleted_during_the_backup_is_not_in_it(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_database: Callable[..., list[str]] = backup._copy_database
    (tmp_path / "copy").mkdir()
    counts = []

    def delete_after_copy(*arguments: Any) -> list[str]:
        checksums = copy_database(*arguments)
        counts.append(len(checksums))
        if len(counts) == 1:
            requests.delete(f"{url}/files/1", timeout=60)
            for path in originals(tmp_path / "copy"):
                path.unlink()  # as if it had not been copied before the database
        return checksums

    monkeypatch.setattr(backup, "_copy_database", delete_after_copy)
    with serving_library(graph, tmp_path / "library") as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
        result = backup.back_up(LibraryConfig(folder=tmp_path / "library"), tmp_path / "copy")
    assert counts == [2, 1]
    assert result.num_files == len(originals(tmp_path / "copy")) == 1


def test_folders_that_hold_something_else_are_left_alone(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "library"))
    status, text = run("backup", tmp_path / "copy")
    assert (status, text) == (1, f"There is no library in {tmp_path / 'library'}.\n")
    with serving_library(graph, tmp_path / "library") as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
    before = sorted(notes.rglob("*"))
    for command, folder, reason in (
        ("backup", notes, "neither empty nor an earlier backup"),
        ("backup", tmp_path / "library" / "copy", "inside the other"),
        ("restore", notes, "no backup"),
    ):
        status, text = run(command, folder)
        assert status == 1
        assert reason in text
    assert sorted(notes.rglob("*")) == before
    assert run("backup", tmp_path / "copy")[0] == 0
    status, text = run("restore", tmp_path / "copy")
    assert status == 1
    assert "is not empty" in text
    with pytest.raises(Conflict):
        backup.back_up(LibraryConfig(folder=tmp_path / "copy"), tmp_path / "library")


def test_a_backup_without_the_key_is_refused(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "library"))
    monkeypatch.setenv("PRISM_ENCRYPTION_KEY", KEY)
    with serving_library(graph, tmp_path / "library", encryption_key=KEY) as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
    assert run("backup", tmp_path / "copy")[0] == 0
    assert not [path for path in originals(tmp_path / "copy") if b"rope" in path.read_bytes()]
    assert b"rope" not in (tmp_path / "copy" / "library.db").read_bytes()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "restored"))
    for wrong in ("", "another-key-of-this-library"):
        monkeypatch.setenv("PRISM_ENCRYPTION_KEY", wrong)
        status, text = run("restore", tmp_path / "copy")
        assert status == 1
        assert "PRISM_ENCRYPTION_KEY" in text
    assert not (tmp_path / "restored").exists()


def test_an_encrypted_copy_has_everything_and_can_be_read_with_the_key_only(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "library"))
    copy = tmp_path / "copy"
    status, text = run("encrypt", copy)
    assert (status, "PRISM_ENCRYPTION_KEY" in text) == (1, True)
    with serving_library(graph, tmp_path / "library") as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
        state(url)
        before = state(url)
    monkeypatch.setenv("PRISM_ENCRYPTION_KEY", KEY)
    status, text = run("encrypt", copy)
    assert status == 0, text
    assert text.endswith("encrypted: 2 files.\nThe library is in order.\n")
    written = b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())
    for word in (b"rope", b"pruned", b"plum.md", QUERY.encode(), before["files"][0]["checksum"].encode()):
        assert word not in written
        assert word in b"".join(path.read_bytes() for path in (tmp_path / "library").rglob("*") if path.is_file())
    with serving_library(FakeGraph(), copy, encryption_key=KEY) as url:
        after = state(url)
    assert after == {**before, "history": after["history"]}
    for folder, reason in ((copy, "not empty"), (tmp_path / "other", "encrypted already")):
        if folder != copy:
            monkeypatch.setenv("DATA_DIR", str(copy))
        status, text = run("encrypt", folder)
        assert status == 1
        assert reason in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not the database"), (b"no database" * 1000, "damaged"), (b"SQLite format 3\0" * 1000, "damaged")],
    ids=["empty", "text", "damaged header"],
)
def test_a_damaged_backup_is_not_restored(
    run: Prism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "library.db").write_bytes(content)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "restored"))
    status, text = run("restore", tmp_path / "copy")
    assert (status, text.count("\n")) == (1, 1)
    assert reason in text
    assert "Restore another backup." in text
    assert not (tmp_path / "restored").exists()


def test_an_encrypted_backup_with_a_damaged_page_is_not_restored(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "library"))
    monkeypatch.setenv("PRISM_ENCRYPTION_KEY", KEY)
    with serving_library(graph, tmp_path / "library", encryption_key=KEY) as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
    assert run("backup", tmp_path / "copy")[0] == 0
    database = tmp_path / "copy" / "library.db"
    content = bytearray(database.read_bytes())
    content[-100] ^= 1
    database.write_bytes(content)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "restored"))
    status, text = run("restore", tmp_path / "copy")
    assert (status, "damaged" in text, text.count("\n")) == (1, True, 1), text
    assert not (tmp_path / "restored" / "library.db").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"library'])
def test_a_backup_with_a_damaged_marker_is_not_changed_but_can_be_restored(
    run: Prism, graph: FakeGraph, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "library"))
    with serving_library(graph, tmp_path / "library"):
        pass
    assert run("backup", tmp_path / "copy")[0] == 0
    (tmp_path / "copy" / "backup.json").write_bytes(content)
    status, text = run("backup", tmp_path / "copy")
    assert (status, text.count("\n")) == (1, 1)
    assert f"{tmp_path / 'copy' / 'backup.json'} is damaged" in text
    assert (tmp_path / "copy" / "backup.json").read_bytes() == content
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "restored"))
    assert run("restore", tmp_path / "copy")[0] == 0
