from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.indexing import worker
from prism import cli
from prism.library import client
from tests.prism.library.served import serving_library
from tests.serve_app.fakes import FakeGraph

Prism = Callable[..., tuple[int, str]]
"""Runs `prism` with arguments; returns its exit status and what it wrote."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_S", 0.05)
    monkeypatch.setattr(worker, "PAUSE_S", 0.01)
    monkeypatch.setattr(client, "POLL_PERIOD_S", 0.02)


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def library_folder(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def url(graph: FakeGraph, library_folder: Path) -> Iterator[str]:
    with serving_library(graph, library_folder) as url:
        yield url


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Prism:
    def run_prism(*arguments: object) -> tuple[int, str]:
        status = cli.main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return status, output.out + output.err

    return run_prism


@pytest.fixture
def prism(run: Prism, url: str) -> Prism:
    """The same with the running server."""
    return lambda command, *arguments: run(command, "--url", url, *arguments)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with two notes, one of them in a folder of its own."""
    folder = tmp_path / "notes"
    (folder / "garden").mkdir(parents=True)
    (folder / "boat.txt").write_text("The boat needs new rope before spring.")
    (folder / "garden" / "plum.md").write_text("# Trees\n\nPlum trees are pruned in June.\n")
    return folder
