"""`prism watch` against the real HTTP API, library and indexing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from deployments.errors import ModelNotLoaded
from deployments.project import project_folder
from prism.library.client import LibraryClient
from prism.library.watch import Synchronizer
from tests.prism.library.conftest import Prism
from tests.prism.library.served import WordEmbedder
from tests.serve_app.fakes import FakeGraph

Synchronize = Callable[[], str]
"""Makes the library agree with the folder, and returns what was said."""


@pytest.fixture
def make_synchronize(url: str, notes: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Synchronize]:
    def make(*, delete: bool = False) -> Synchronize:
        synchronizer = Synchronizer(LibraryClient(url), notes, delete=delete)

        def synchronize() -> str:
            synchronizer.synchronize()
            return capsys.readouterr().out

        return synchronize

    return make


def paths(url: str) -> list[str]:
    return sorted(file["path"] for file in requests.get(f"{url}/files").json()["files"])


def found(url: str, query: str) -> list[str]:
    """Return the texts of the passages with a word."""
    results = requests.post(f"{url}/search", json={"query": f'"{query}"'}).json()["results"]
    return [result["metadata"]["text"] for result in results]


def test_what_is_new_is_added_and_what_is_there_is_not_mentioned_again(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path
) -> None:
    synchronize = make_synchronize()
    assert sorted(synchronize().splitlines()) == ["indexed notes/boat.txt", "indexed notes/garden/plum.md"]
    assert synchronize() == ""
    (notes / "new.txt").write_text("A new note.")
    (notes / ".hidden.txt").write_text("A hidden note.")
    assert synchronize() == "indexed notes/new.txt\n"
    assert synchronize() == ""


def test_a_changed_file_replaces_its_former_version(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path
) -> None:
    synchronize = make_synchronize()
    synchronize()
    (notes / "boat.txt").write_text("The boat is sold to a fisherman.")
    assert synchronize().splitlines() == ["indexed notes/boat.txt", "removed the former notes/boat.txt"]
    assert paths(url) == ["notes/boat.txt", "notes/garden/plum.md"]
    assert found(url, "fisherman") == ["The boat is sold to a fisherman."]
    assert found(url, "rope") == []


def test_the_former_version_stays_until_the_new_one_is_indexed(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path, graph: FakeGraph
) -> None:
    synchronize = make_synchronize()
    synchronize()
    delete, seen = LibraryClient.delete, []

    def note_and_delete(client: LibraryClient, file_id: int) -> None:
        seen.extend(found(url, "fisherman"))
        delete(client, file_id)

    (notes / "boat.txt").write_text("The boat is sold to a fisherman.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LibraryClient, "delete", note_and_delete)
        synchronize()
    assert seen == ["The boat is sold to a fisherman."]


def test_a_changed_file_that_cannot_be_indexed_leaves_the_former_version_and_is_not_tried_again(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path, graph: FakeGraph
) -> None:
    synchronize = make_synchronize()
    synchronize()
    (notes / "boat.txt").write_bytes(b"%PDF-1.4\nnothing more")
    assert synchronize().startswith("notes/boat.txt: ")
    assert found(url, "rope") == ["The boat needs new rope before spring."]
    num_uploads = len(graph.uploads)
    assert synchronize() == ""
    assert len(graph.uploads) == num_uploads


def test_a_refused_file_is_named_once_and_sent_once(
    make_synchronize: Callable[..., Synchronize], notes: Path, graph: FakeGraph
) -> None:
    synchronize = make_synchronize()
    (notes / "program").write_bytes(b"\x7fELF" + bytes(100))
    assert f"{notes / 'program'}: The content" in synchronize()
    assert synchronize() == ""
    (notes / "program").write_text("Now it is a text.")
    assert synchronize() == "indexed notes/program\n"


@pytest.mark.parametrize("delete", [False, True])
def test_a_vanished_file_stays_unless_asked_for(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path, delete: bool
) -> None:
    synchronize = make_synchronize(delete=delete)
    synchronize()
    (notes / "boat.txt").unlink()
    assert synchronize() == ("removed notes/boat.txt\n" if delete else "")
    assert paths(url) == ["notes/garden/plum.md"] if delete else ["notes/boat.txt", "notes/garden/plum.md"]
    assert found(url, "rope") == ([] if delete else ["The boat needs new rope before spring."])


def test_content_stays_while_the_folder_has_it_under_any_name(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path
) -> None:
    synchronize = make_synchronize(delete=True)
    synchronize()
    (notes / "copy.txt").write_bytes((notes / "boat.txt").read_bytes())
    assert synchronize() == ""
    (notes / "boat.txt").write_text("The boat is sold to a fisherman.")
    assert synchronize() == "indexed notes/boat.txt\n"
    assert found(url, "rope") == ["The boat needs new rope before spring."]
    (notes / "garden" / "plum.md").rename(notes / "plum.md")
    assert synchronize() == ""
    assert len(found(url, "pruned")) == 1
    (notes / "copy.txt").unlink()
    assert synchronize() == "removed the former notes/boat.txt\n"
    assert found(url, "rope") == []


def test_names_that_the_library_writes_otherwise_are_the_same_files(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path
) -> None:
    for number, name in enumerate([" spaces .txt", "line\nbreak.txt", "back\\slash.txt"]):
        (notes / name).write_text(f"A strange name, number {number}.")
    synchronize = make_synchronize(delete=True)
    assert synchronize().count("indexed") == 5
    assert synchronize() == ""
    assert len(paths(url)) == 5
    (notes / " spaces .txt").write_text("Another text.")
    assert synchronize().splitlines() == ["indexed notes/spaces .txt", "removed the former notes/spaces .txt"]


def test_files_of_other_folders_are_left_alone(
    prism: Prism, make_synchronize: Callable[..., Synchronize], url: str, tmp_path: Path
) -> None:
    other = tmp_path / "old notes"
    other.mkdir()
    (other / "letter.txt").write_text("A letter from the sea.")
    assert prism("add", "--wait", other)[0] == 0
    make_synchronize(delete=True)()
    assert "old notes/letter.txt" in paths(url)


def test_a_file_that_vanishes_while_it_is_read_ends_nothing(
    make_synchronize: Callable[..., Synchronize], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prism.library import watch

    checksum_of = watch.checksum_of

    def vanish(path: Path) -> str:
        if path.name == "boat.txt":
            path.unlink()
        return checksum_of(path)

    monkeypatch.setattr(watch, "checksum_of", vanish)
    assert make_synchronize()().splitlines() == [
        f"{notes / 'boat.txt'} cannot be read: No such file or directory.",
        "indexed notes/garden/plum.md",
    ]


def test_a_file_removed_by_somebody_while_it_is_indexed_ends_nothing(
    make_synchronize: Callable[..., Synchronize], url: str, notes: Path, graph: FakeGraph
) -> None:
    embedder = graph.embedder
    assert isinstance(embedder, WordEmbedder)
    embedder.error = ModelNotLoaded("Still loading.")  # so that the files wait
    wait = LibraryClient.wait_until_indexed

    def remove_and_wait(client: LibraryClient, file_id: int) -> dict[str, object]:
        requests.delete(f"{url}/files/{file_id}")
        return wait(client, file_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LibraryClient, "wait_until_indexed", remove_and_wait)
        assert make_synchronize()() == ""
    assert paths(url) == []


def test_the_command_follows_changes_until_it_is_interrupted(url: str, notes: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "prism", "watch", "--url", url, "--delete", str(notes)],
        cwd=project_folder(),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell may run the tests in the background, ignoring interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    try:
        assert f"Watching {notes}; Ctrl-C ends this.\n" in lines
        (notes / "boat.txt").write_text("The boat is sold to a fisherman.")
        assert "removed the former notes/boat.txt\n" in lines
        (notes / "boat.txt").unlink()
        assert "removed notes/boat.txt\n" in lines
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.communicate()
    assert paths(url) == ["notes/garden/plum.md"]


def test_a_folder_that_is_not_there_is_named(prism: Prism, tmp_path: Path) -> None:
    assert prism("watch", tmp_path / "nowhere") == (1, f"There is no folder {tmp_path / 'nowhere'}.\n")
