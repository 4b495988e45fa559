"""`prism search`, `files`, `show`, `rm`, `verify` and `rebuild` against the real HTTP API, library and indexing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.project import project_folder
from prism.library.command import describe_place
from samples.running_server import free_port
from tests.prism.library.conftest import Prism
from tests.prism.library.served import serving_library
from tests.serve_app.conftest import picture
from tests.serve_app.fakes import FakeGraph


@pytest.fixture
def ids(prism: Prism, url: str, notes: Path) -> dict[str, int]:
    """The ids of the notes' files, by name, once they are indexed."""
    assert prism("add", "--wait", notes)[0] == 0
    return {file["filename"]: file["file_id"] for file in requests.get(f"{url}/files").json()["files"]}


def test_search_says_where_a_passage_is(prism: Prism, ids: dict[str, int]) -> None:
    status, text = prism("search", "when are plum trees pruned")
    assert status == 0
    lines = text.splitlines()
    assert lines[0].startswith("1. plum.md, Trees, paragraph ")
    assert lines[0].endswith(f" (file {ids['plum.md']})")
    assert "Plum trees are pruned in June." in text


def test_search_shows_the_answer_and_what_it_cites(prism: Prism, ids: dict[str, int]) -> None:
    _, text = prism("search", "when are plum trees pruned?")
    _, answer = text.split(" s.\n", 1)
    lines = answer.splitlines()
    assert lines[0].endswith("Plum trees are pruned in June. [1]")
    assert any(line.startswith("[1] plum.md, Trees, paragraph ") for line in lines)
    assert 'Plum trees are pruned in June."' in answer
    assert "Answered by extractive." in answer
    _, text = prism("search", "--no-answer", "when are plum trees pruned?")
    assert text.endswith(" s.\n")


def test_search_takes_a_limit_types_and_json(prism: Prism, ids: dict[str, int]) -> None:
    status, text = prism("search", "--json", "--limit", "1", "--type", "document", "rope for the boat")
    assert status == 0
    assert [result["metadata"]["filename"] for result in json.loads(text)["results"]] == ["boat.txt"]
    status, text = prism("search", "--type", "audio", "rope for the boat")
    assert status == 1
    assert text.startswith("0 passages in ")
    assert "\n1 passage in " in prism("search", "--limit", "1", "rope for the boat")[1]
    status, text = prism("search", "--limit", "1000", "rope")
    assert status == 1
    assert "INVALID_REQUEST" in text


def test_files_are_listed_by_name_type_and_state(prism: Prism, ids: dict[str, int], notes: Path) -> None:
    (notes / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing more")
    prism("add", "--wait", notes)
    status, text = prism("files")
    assert status == 0
    assert f"{ids['boat.txt']:>6}  document  completed  notes/boat.txt" in text
    assert text.endswith("3 files.\n")
    assert prism("files", "garden")[1].count("notes/") == 1
    assert prism("files", "--type", "image")[1] == "0 files.\n"
    failed = prism("files", "--status", "failed")[1]
    assert "notes/broken.pdf: " in failed
    assert failed.endswith("1 file.\n")


def test_all_pages_of_a_long_list_are_shown(prism: Prism, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(101):
        (folder / f"{number}.txt").write_text(f"Note number {number}.")
    assert prism("add", folder)[0] == 0
    text = prism("files")[1]
    assert text.count("many/") == 101
    assert text.endswith("101 files.\n")


def test_show_has_the_text_with_its_places(prism: Prism, ids: dict[str, int]) -> None:
    status, text = prism("show", ids["plum.md"])
    assert status == 0
    assert "path          notes/garden/plum.md" in text
    assert "status        completed" in text
    assert "[Trees, paragraph " in text
    assert "Plum trees are pruned in June." in text
    status, text = prism("show", 999)
    assert status == 1
    assert "There is no file 999." in text


def test_a_passage_without_a_place_of_its_own_has_no_empty_brackets(prism: Prism, url: str, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(picture("PNG"))
    assert prism("add", "--wait", tmp_path / "picture.png")[0] == 0
    text = prism("show", requests.get(f"{url}/files").json()["files"][0]["file_id"])[1]
    assert "a picture" in text
    assert "[]" not in text


def test_show_says_why_a_file_failed(prism: Prism, url: str, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing more")
    prism("add", "--wait", tmp_path / "broken.pdf")
    text = prism("show", requests.get(f"{url}/files").json()["files"][0]["file_id"])[1]
    assert "status        failed" in text
    assert "error         INVALID_FILE: " in text


def test_removed_files_are_gone_and_one_that_is_not_there_does_not_stop_the_others(
    prism: Prism, url: str, ids: dict[str, int]
) -> None:
    status, text = prism("rm", ids["boat.txt"], 999, ids["plum.md"])
    assert status == 1
    assert "File 999 is not removed: There is no file 999." in text
    assert requests.get(f"{url}/files").json()["total"] == 0
    assert prism("search", "plum trees")[0] == 1


def test_verify_and_rebuild_ask_the_server(prism: Prism, ids: dict[str, int]) -> None:
    for command in ("verify", "rebuild"):
        status, text = prism(command)
        assert status == 0
        assert "The library is in order.\n" in text
        assert "works on the folder" not in text


def test_verify_finds_a_lost_original_with_a_server(prism: Prism, ids: dict[str, int], library_folder: Path) -> None:
    _originals(library_folder)[0].unlink()
    status, text = prism("verify")
    assert status == 1
    assert "is missing" in text
    assert "in order" not in text


def _originals(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and len(path.name) == 64]


@pytest.fixture
def closed_library(
    graph: FakeGraph, library_folder: Path, run: Prism, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a library that no server has, and DATA_DIR is its name."""
    with serving_library(graph, library_folder) as url:
        assert run("add", "--url", url, "--wait", notes)[0] == 0
    monkeypatch.setenv("DATA_DIR", str(library_folder))
    return library_folder


def test_without_a_server_verify_and_rebuild_work_on_the_folder_and_say_so(run: Prism, closed_library: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in ("verify", "rebuild", "verify"):
        status, text = run(command, "--url", url)
        assert status == 0, text
        assert f"There is no server at {url}, so this works on the folder {closed_library}." in text
        assert text.count("The library is in order.\n") == 1
    _originals(closed_library)[0].unlink()
    status, text = run("verify", "--url", url)
    assert status == 1
    assert "is missing" in text


def test_a_folder_that_another_process_has_is_left_alone(run: Prism, closed_library: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LIBRARY, str(closed_library)],
        cwd=project_folder(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "open\n"
        for command in ("verify", "rebuild"):
            status, text = run(command, "--url", f"http://127.0.0.1:{free_port()}")
            assert status == 1
            assert str(holder.pid) in text
            assert "in order" not in text
    finally:
        holder.communicate()


HOLD_LIBRARY = f"""
import sys
from pathlib import Path
from {Library.__module__} import {Library.__name__}
from {LibraryConfig.__module__} import {LibraryConfig.__name__}
library = {Library.__name__}({LibraryConfig.__name__}(folder=Path(sys.argv[1])))
sys.stdout.write("open\\n")
sys.stdout.flush()
sys.stdin.read()
library.close()
"""


def test_a_folder_without_a_library_and_a_wrong_setting_are_named(
    run: Prism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "empty"))
    status, text = run("verify", "--url", url)
    assert status == 1
    assert f"There is no library in {tmp_path / 'empty'}." in text
    assert not (tmp_path / "empty").exists()
    monkeypatch.setenv("REQUEST_TIMEOUT_SECONDS", "soon")
    status, text = run("verify", "--url", url)
    assert status == 1
    assert "request_timeout_s" in text


def test_an_encrypted_folder_needs_its_key_in_the_environment(
    run: Prism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key = tmp_path / "encrypted", "a key, long enough"
    Library(LibraryConfig(folder=folder, encryption_key=SecretStr(key))).close()
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("DATA_DIR", str(folder))
    for wrong, message in (
        ("", "is encrypted. Set PRISM_ENCRYPTION_KEY"),
        (f"not {key}", "encrypted with another key"),
    ):
        monkeypatch.setenv("PRISM_ENCRYPTION_KEY", wrong)
        for command in ("verify", "rebuild"):
            status, text = run(command, "--url", url)
            assert status == 1
            assert message in text
            assert key not in text
    monkeypatch.setenv("PRISM_ENCRYPTION_KEY", key)
    for command in ("verify", "rebuild"):
        status, text = run(command, "--url", url)
        assert status == 0
        assert "The library is in order.\n" in text


def test_output_may_be_cut_off_by_its_reader(url: str, ids: dict[str, int]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "prism", "files", "--url", url]
    run = subprocess.run(command, cwd=project_folder(), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert run.stderr == ""


def test_characters_that_the_terminal_lacks_are_replaced(prism: Prism, url: str, tmp_path: Path) -> None:
    (tmp_path / "tea.txt").write_text("Tea is 茶 in Chinese.")
    assert prism("add", "--wait", tmp_path / "tea.txt")[0] == 0
    run = subprocess.run(
        [sys.executable, "-m", "prism", "search", "--url", url, "tea in Chinese"],
        cwd=project_folder(),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "Tea is ? in Chinese." in run.stdout


def test_places_in_words() -> None:
    assert describe_place({"type": "document", "page": 5}) == "page 5"
    assert describe_place({"type": "audio", "start": 734.2, "end": 3741.0}) == "0:12:14 to 1:02:21"
    where = {"type": "document", "heading": ["2 Budget", "2.1 Travel"], "paragraph": 17}
    assert describe_place(where) == "2 Budget > 2.1 Travel, paragraph 17"
    assert describe_place({"type": "image"}) == ""
