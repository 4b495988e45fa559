"""config/postgres.yaml with a real Postgres server: two indexing workers, of which one is killed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.search_cases import read_cases
from benchmarks.search_quality import OWN_CASES, ask
from benchmarks.search_targets import Server
from deployments.project import project_folder
from samples.running_server import RunningServer, running_server
from tests.e2e.client import processes_of
from tests.e2e.library import LibraryClient
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SQLITE_RECALL_AT_5 = 1.0
"""What `prism benchmark search quality` measures with SQLite on the same files."""


@pytest.fixture(scope="module")
def postgres_graph(
    postgres_server: PostgresServer, model_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The shipped file, with the miniatures in place of the real models."""
    document = yaml.safe_load((project_folder() / "config/postgres.yaml").read_text())
    mini = yaml.safe_load((project_folder() / "config/mini.yaml").read_text())
    document["applications"][0]["args"] = mini["applications"][0]["args"]
    path = tmp_path_factory.mktemp("config") / "postgres.yaml"
    path.write_text(yaml.safe_dump(document))
    env = {"MODEL_CACHE_DIR": str(model_cache), "DATABASE_URL": postgres_server.new_database()}
    with running_server(path, env) as running:
        yield running


def long_text(number: int) -> bytes:
    """Return a text that takes some seconds to index."""
    sentences = [f"File {number} says in sentence {i} what no other one says." for i in range(400)]
    return "\n\n".join(" ".join(sentences[first : first + 8]) for first in range(0, 400, 8)).encode()


def test_a_killed_worker_costs_no_file_and_the_answers_are_those_of_sqlite(postgres_graph: RunningServer) -> None:
    library = LibraryClient(postgres_graph.url)
    ids = [library.add(f"{number}.txt", long_text(number)) for number in range(6)]
    end = time.monotonic() + 60
    while sum(library.file(id)["status"] == "processing" for id in ids) < 2:
        assert time.monotonic() < end, "the two workers never worked at once"
        time.sleep(0.1)
    workers = processes_of(postgres_graph.pid, "ServeReplica", ":Indexing")
    assert len(workers) == 2
    workers[0].kill()
    for id in ids:
        library.until_completed(id)
    for number, id in enumerate(ids):
        assert library.best(f'"File {number} says in sentence 7"')["metadata"]["file_id"] == id

    cases = read_cases(OWN_CASES)
    for path in sorted({OWN_CASES / case.file for case in cases}):
        library.until_completed(library.add(path.name, path.read_bytes()))
    ranks = [ask(Server(postgres_graph.url), case).rank for case in cases]
    recall = sum(rank is not None and rank <= 5 for rank in ranks) / len(ranks)
    assert recall >= SQLITE_RECALL_AT_5 - 0.02
    assert library.problems() == []
    assert library.get("/health").json()["library"]["state"] == "ready"


def test_twenty_kills_of_the_librarys_process_lose_nothing() -> None:
    command = [sys.executable, "-m", "tests.kills", "--kills", "20", "--seed", "7", "--postgres"]
    result = subprocess.run(command, cwd=project_folder(), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("20 kills")
