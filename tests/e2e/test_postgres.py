"""config/postgres.yaml with a real Postgres server: two indexing workers, of which one is killed, or on two nodes."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.search_cases import read_cases
from benchmarks.search_quality import OWN_CASES, ask
from benchmarks.search_targets import Server
from deployments.project import project_folder
from samples.running_server import running_server
from tests.e2e.client import processes_of
from tests.e2e.library import LibraryClient
from tests.e2e.ray_cluster import ray_cluster
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SQLITE_RECALL_AT_5 = 1.0
"""What `prism benchmark search quality` measures with SQLite on the same files."""


def shipped_file(folder: Path, **indexing: Any) -> Path:
    """Return a copy of config/postgres.yaml with the miniatures in place of the real models."""
    document = yaml.safe_load((project_folder() / "config/postgres.yaml").read_text())
    mini = yaml.safe_load((project_folder() / "config/mini.yaml").read_text())
    application = document["applications"][0]
    application["args"] = mini["applications"][0]["args"]
    [workers] = [deployment for deployment in application["deployments"] if deployment["name"] == "Indexing"]
    workers.update(indexing)
    path = folder / "postgres.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def long_text(number: int, num_sentences: int = 400) -> bytes:
    """Return a text that takes some seconds to index."""
    sentences = [f"File {number} says in sentence {i} what no other one says." for i in range(num_sentences)]
    return "\n\n".join(" ".join(sentences[first : first + 8]) for first in range(0, num_sentences, 8)).encode()


def add_for_both_workers(library: LibraryClient, count: int) -> list[int]:
    """Add files, and return their ids when two of them are being indexed."""
    ids = [library.add(f"{number}.txt", long_text(number)) for number in range(count)]
    end = time.monotonic() + 60
    while sum(library.file(id)["status"] == "processing" for id in ids) < 2:
        assert time.monotonic() < end, "the two workers never worked at once"
        time.sleep(0.1)
    return ids


def check_that_all_are_found(library: LibraryClient, ids: Sequence[int]) -> None:
    for number, id in enumerate(ids):
        library.until_completed(id)
        assert library.best(f'"File {number} says in sentence 7"')["metadata"]["file_id"] == id
    assert library.problems() == []


def test_a_killed_worker_costs_no_file_and_the_answers_are_those_of_sqlite(
    postgres_server: PostgresServer, model_cache: Path, tmp_path: Path
) -> None:
    env = {"MODEL_CACHE_DIR": str(model_cache), "DATABASE_URL": postgres_server.new_database()}
    with running_server(shipped_file(tmp_path), env) as server:
        library = LibraryClient(server.url)
        ids = add_for_both_workers(library, 6)
        workers = processes_of(server.pid, "ServeReplica", ":Indexing")
        assert len(workers) == 2
        workers[0].kill()
        check_that_all_are_found(library, ids)
        check_recall(library)
        assert library.get("/health").json()["library"]["state"] == "ready"


def test_workers_on_two_ray_nodes_get_the_originals_from_the_library(
    postgres_server: PostgresServer, model_cache: Path, tmp_path: Path
) -> None:
    env = {
        "MODEL_CACHE_DIR": str(model_cache),
        "DATABASE_URL": postgres_server.new_database(),
        "DATA_DIR": str(tmp_path / "library"),
    }
    with (
        ray_cluster(2, env) as cluster,
        running_server(shipped_file(tmp_path, max_replicas_per_node=1), cluster) as server,
    ):
        library = LibraryClient(server.url)
        check_that_all_are_found(library, add_for_both_workers(library, 4))


def check_recall(library: LibraryClient) -> None:
    """Ask the benchmark's questions about its files."""
    cases = read_cases(OWN_CASES)
    for path in sorted({OWN_CASES / case.file for case in cases}):
        library.until_completed(library.add(path.name, path.read_bytes()))
    ranks = [ask(Server(library.url), case).rank for case in cases]
    recall = sum(rank is not None and rank <= 5 for rank in ranks) / len(ranks)
    assert recall >= SQLITE_RECALL_AT_5 - 0.02
    assert library.problems() == []


def test_twenty_kills_of_the_librarys_process_lose_nothing() -> None:
    command = [sys.executable, "-m", "tests.kills", "--kills", "20", "--seed", "7", "--postgres"]
    result = subprocess.run(command, cwd=project_folder(), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("20 kills")
