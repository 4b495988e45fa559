"""`prism add` against the real HTTP API, library and indexing."""

import os
from pathlib import Path

import pytest
import requests

from deployments.errors import ServerBusy
from prism.library import client
from samples.running_server import free_port
from tests.prism.library.conftest import Prism
from tests.serve_app.fakes import FakeGraph


def test_a_folder_is_added_with_everything_below_it_under_its_own_name(prism: Prism, url: str, notes: Path) -> None:
    status, text = prism("add", "--wait", notes)
    assert status == 0, text
    assert "2 added, 0 already there, 0 refused." in text
    files = requests.get(f"{url}/files").json()["files"]
    assert {(file["path"], file["status"]) for file in files} == {
        ("notes/boat.txt", "completed"),
        ("notes/garden/plum.md", "completed"),
    }


def test_a_pattern_names_files_and_hidden_ones_are_left_out(prism: Prism, url: str, notes: Path) -> None:
    (notes / ".secret.txt").write_text("A hidden file.")
    (notes / ".git").mkdir()
    (notes / ".git" / "log.txt").write_text("A file in a hidden folder.")
    status, text = prism("add", notes / "*.txt")
    assert status == 0
    assert "1 added" in text
    assert "2 added, 1 already there" not in text
    status, text = prism("add", notes)
    assert "1 added, 1 already there, 0 refused." in text
    assert requests.get(f"{url}/files").json()["total"] == 2
    assert "1 added" in prism("add", notes / ".secret.txt")[1]  # named itself


def test_a_second_run_sends_nothing(prism: Prism, graph: FakeGraph, notes: Path) -> None:
    prism("add", "--wait", notes)
    num_uploads = len(graph.uploads)
    status, text = prism("add", "--wait", notes)
    assert status == 0
    assert "0 added, 2 already there, 0 refused." in text
    assert len(graph.uploads) == num_uploads


def test_a_refused_file_is_named_and_the_others_are_added(prism: Prism, notes: Path) -> None:
    (notes / "program").write_bytes(b"\x7fELF" + bytes(100))
    status, text = prism("add", notes)
    assert status == 1
    assert f"{notes / 'program'}: The content" in text
    assert "2 added, 0 already there, 1 refused." in text


def test_a_file_that_cannot_be_indexed_fails_the_command_that_waits(prism: Prism, notes: Path) -> None:
    (notes / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing more")
    status, text = prism("add", "--wait", notes)
    assert status == 1
    assert "notes/broken.pdf: " in text
    assert "3 added, 0 already there, 0 refused." in text
    # A failed one is tried again.
    assert "1 added, 2 already there" in prism("add", notes)[1]


def test_names_that_are_no_text_and_pipes_do_no_harm(prism: Prism, url: str, notes: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(notes) + b"/caf\xe9\n.txt"))
    strange.write_text("A name in an old encoding.")
    os.mkfifo(notes / "pipe")
    (notes / "link").symlink_to(notes / "nowhere")
    status, text = prism("add", "--wait", notes)
    assert status == 0, text
    assert "3 added" in text
    assert "notes/caf.txt" in {file["path"] for file in requests.get(f"{url}/files").json()["files"]}


def test_a_busy_server_is_asked_again(
    prism: Prism, graph: FakeGraph, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [ServerBusy("The queue is full."), ServerBusy("The queue is full.")]
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    add_file = graph.library.add_file

    async def busy_at_first(*arguments: object, **keywords: object) -> object:
        if refusals:
            raise refusals.pop()
        return await add_file(*arguments, **keywords)

    monkeypatch.setattr(graph.library, "add_file", busy_at_first)
    status, text = prism("add", notes)
    assert (status, refusals) == (0, [])
    assert "2 added" in text


def test_without_a_server_or_a_file_the_message_says_so(run: Prism, prism: Prism, tmp_path: Path) -> None:
    status, text = prism("add", tmp_path / "missing")
    assert (status, text) == (1, f"There is no file or folder {tmp_path / 'missing'}.\n")
    (tmp_path / "note.txt").write_text("A note.")
    status, text = run("add", "--url", f"http://127.0.0.1:{free_port()}", tmp_path / "note.txt")
    assert status == 1
    assert "Start the server with `prism serve`." in text
