"""What is particular to a library in Postgres; the other tests of the library run with both databases."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.search_quality import OWN_CASES
from deployments.cancellation import Cancellation
from deployments.errors import ModelNotLoaded, NotFound, ServerBusy, StorageFull
from deployments.library.chunks import read_vectors
from deployments.library.library import Library
from deployments.library.lookup import Lookup
from deployments.library.offline import run_offline
from deployments.library.postgres import words
from deployments.library.postgres.words import _MAX_TERM_BYTES
from deployments.library.settings import LibraryConfig
from deployments.library.tables import chunk_id_ranges
from deployments.library.types import FILE_TYPES, FileFilter
from deployments.library.unspaced import separated
from deployments.media import as_media
from tests.deployments.library.contents import add, found, lease, new_chunks, new_file, search, upload, vectors_of
from tests.postgres_server import TEMPLATE, PostgresServer

PHRASES = ("the ferry", "state of the art", "lamp", "a a", "Ｌamp", "INV-2022-001", "nothing-of-this-kind", "...")


@pytest.fixture
def config(tmp_path: Path, postgres_server: PostgresServer) -> LibraryConfig:
    return LibraryConfig(folder=tmp_path / "library", database_url=SecretStr(postgres_server.new_database()))


def problems(library: Library) -> list[str]:
    return library.verify(Cancellation(time.time() + 60)).problems


def database_name(config: LibraryConfig) -> str:
    match = re.search(r"/(library_\d+)", config.database_url.get_secret_value())
    assert match is not None
    return match[1]


@pytest.fixture(scope="module")
def passages() -> list[str]:
    """Paragraphs of the benchmark's texts, and some with what is special about words."""
    paragraphs: list[str] = []
    for name in ("ferry.txt", "lighthouse.md", "orchard.html"):
        content = re.sub(r"<[^>]+>", " ", (OWN_CASES / name).read_text())
        paragraphs += [part.strip() for part in re.split(r"\n\s*\n", content) if part.strip()]
    return [
        *paragraphs,
        "a a a lamp, and a a",
        "The state of the art is state-of-the-art, says INV-2022-001.",
        "It's 100% \\ \"quoted\" 'text': & | ! <-> * lamp",
        "機械学習は楽しい",
        "lamp " * 250,
        "x" * 5000,
    ]


@pytest.fixture(scope="module")
def questions() -> list[str]:
    cases = json.loads((OWN_CASES / "cases.json").read_text())
    return [case["question"] for case in (cases["cases"] if isinstance(cases, dict) else cases)]


@pytest.fixture
def in_sqlite(tmp_path: Path) -> Iterator[Library]:
    library = Library(LibraryConfig(folder=tmp_path / "sqlite"))
    yield library
    library.close()


def fill(library: Library, passages: list[str]) -> None:
    """Put passages into files of several types, some of them in one file with their neighbours."""
    for number in range(0, len(passages), 3):
        file_type = FILE_TYPES[number // 3 % len(FILE_TYPES)]
        add(library, f"lamp ferry/{number} state of.txt", passages[number : number + 3], file_type)


def test_both_databases_find_and_rank_the_same(
    library: Library, in_sqlite: Library, passages: list[str], questions: list[str]
) -> None:
    fill(library, passages)
    fill(in_sqlite, passages)
    num_hits = 0
    for query in [*questions, *PHRASES, '"of the"', '"a a" lamp', '"学習" 機械', "x" * 5000]:
        for words_only in (True, False):
            for file_types in ((), ("document", "video")):
                ours, expected = (
                    [
                        (hit.chunk.file_id, hit.chunk.number, hit.similarity, pytest.approx(hit.score, abs=1e-12))
                        for hit in search(each, query, *file_types, limit=20, words_only=words_only)
                    ]
                    for each in (library, in_sqlite)
                )
                assert ours == expected, query
                num_hits += len(ours)
    assert num_hits > 1000


def test_bm25_is_that_of_fts5(library: Library, in_sqlite: Library, passages: list[str]) -> None:
    fill(library, passages)
    fill(in_sqlite, passages)
    ranges = chunk_id_ranges(FILE_TYPES)
    phrases = tuple(map(separated, PHRASES))
    wanted = [(phrases,), ((phrases[2],), phrases), (phrases[:2], phrases[:3]), *(((phrase,),) for phrase in phrases)]
    for groups in wanted:
        with library._database.reading() as session:
            ours = library._words.search(session, Lookup(groups, 10), ranges, 1000)
            matching = library._words.matching(session, groups, range(1, 100))
        with in_sqlite._database.reading() as session:
            expected = in_sqlite._words.search(session, Lookup(groups, 10), ranges, 1000)
            assert matching == in_sqlite._words.matching(session, groups, range(1, 100))
        assert dict(ours) == pytest.approx(dict(expected), rel=1e-12)
    for term in ("lamp", "state", "nothing"):
        with library._database.reading() as session, in_sqlite._database.reading() as other:
            count = library._words.num_chunks_with(session, term)
            assert count == in_sqlite._words.num_chunks_with(other, term)


def test_the_work_of_a_search_does_not_grow_with_the_square_of_what_matches(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(library, "a.txt", [f"common word{i}" for i in range(400)])
    execute = words._execute
    plan: list[str] = []

    def explain(session: Session, statement: str, **parameters: Any) -> Sequence[tuple[Any, ...]]:
        if "ts_filter" in statement:
            plan.extend(row[0] for row in execute(session, "EXPLAIN ANALYZE " + statement, **parameters))
        return execute(session, statement, **parameters)

    monkeypatch.setattr(words, "_execute", explain)
    assert len(found(library, "common")) == 10
    assert "Execution Time" in plan[-1]
    assert sum(int(rows) for rows in re.findall(r"Rows Removed by Join Filter: (\d+)", "\n".join(plan))) < 4000


def test_vectors_are_stored_with_the_same_bits(library: Library, in_sqlite: Library) -> None:
    for each in (library, in_sqlite):
        add(each, "a.txt", ["one", "two words", "three more words"])
    with library._database.reading() as session, in_sqlite._database.reading() as other:
        [(ids, ours)], [(_, expected)] = read_vectors(session), read_vectors(other)
    assert len(ids) == 3
    assert (ours == expected).all()


def test_an_invisible_chunk_takes_no_place_among_the_nearest(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.library.search._MIN_CANDIDATES", 1)
    upload(library, "unfinished.txt")
    job = lease(library)
    texts = ["an automobile"] * 20
    library.add_chunks(job.job_id, job.lease, 0, new_chunks(texts), vectors_of(texts))
    add(library, "finished.txt", ["the automobile stopped"])
    [hit] = search(library, "car", limit=1, words_only=False)
    assert hit.chunk.text == "the automobile stopped"


def test_commits_wait_for_the_disk_even_where_the_database_says_otherwise(
    config: LibraryConfig, postgres_server: PostgresServer
) -> None:
    postgres_server.execute(f"ALTER DATABASE {database_name(config)} SET synchronous_commit = off")
    library = Library(config)
    with library._database.writing() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"
    library.close()


def test_what_postgres_cannot_store_is_replaced(library: Library) -> None:
    library.add_history("a \x00 query", 1, 1.0)
    assert library.history(1, 0).history[0].query == "a \N{REPLACEMENT CHARACTER} query"
    long = "ä" * 5000
    file = add(library, "a\x00b.txt", [f"before\x00after {long}", "other"])
    assert found(library, "after") == found(library, long) == [f"before\N{REPLACEMENT CHARACTER}after {long}"]
    assert found(library, "ä" * (_MAX_TERM_BYTES // 2 - 1)) == []
    assert problems(library) == []
    library.delete_file(file.file_id)
    assert library.stats().total_chunks == 0


HOLD = """
import sys, time
from pathlib import Path
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
library = Library(LibraryConfig(folder=Path(sys.argv[1]), database_url=sys.argv[2]))
print("open", flush=True)
time.sleep(60)
"""


def test_one_process_has_the_database_until_it_ends_however_that_happens(config: LibraryConfig, tmp_path: Path) -> None:
    url = config.database_url.get_secret_value()
    command = [sys.executable, "-c", HOLD, str(config.folder), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        elsewhere = config.model_copy(update={"folder": tmp_path / "elsewhere"})
        with pytest.raises(ModelNotLoaded, match=rf"in use by prism, process {holder.pid} on .+, since 20"):
            Library(elsewhere)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    Library(config, lock_wait_s=10).close()


def terminate_connections(postgres_server: PostgresServer, config: LibraryConfig) -> None:
    name = database_name(config)
    postgres_server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")


def lose_the_connection_during_a_change(
    library: Library, config: LibraryConfig, postgres_server: PostgresServer
) -> None:
    with library._database.writing() as session:
        session.execute(text("UPDATE files SET filename = 'lost'"))
        terminate_connections(postgres_server, config)
        session.execute(text("SELECT 1"))


def test_a_lost_connection_is_made_anew(
    library: Library, config: LibraryConfig, postgres_server: PostgresServer
) -> None:
    add(library, "a.txt", ["some words"])
    terminate_connections(postgres_server, config)
    assert found(library, "words") == ["some words"]
    terminate_connections(postgres_server, config)
    add(library, "b.txt", ["more words"])
    with pytest.raises(ServerBusy, match="did not finish this call.*try again"):
        lose_the_connection_during_a_change(library, config, postgres_server)
    assert library.file(1).filename == "a.txt"
    upload(library, "c.txt")
    with pytest.raises(ModelNotLoaded, match="in use by"):
        Library(config.model_copy(update={"folder": config.folder / "other"}))


def test_who_lost_the_database_to_another_process_does_not_write(
    library: Library, config: LibraryConfig, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(library, "a.txt")
    monkeypatch.setattr(library._database, "_lock_wait_s", 0.1)
    terminate_connections(postgres_server, config)
    library._lock.close()
    other = Library(config)
    with pytest.raises(ModelNotLoaded, match="in use by"):
        upload(library, "b.txt")
    other.close()
    assert upload(library, "b.txt").file_id > 1


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path, config: LibraryConfig) -> None:
    url = "postgresql+psycopg://prism:secret@127.0.0.1:9/library"
    with pytest.raises(
        ModelNotLoaded, match="needs the database library on 127.0.0.1, which cannot be reached"
    ) as raised:
        Library(LibraryConfig(folder=tmp_path / "library", database_url=SecretStr(url)))
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(LibraryConfig(database_url=SecretStr(url)))


@pytest.mark.parametrize(
    ("sqlstate", "error", "message"),
    [
        ("53100", StorageFull, "disk of the database"),
        ("53200", ServerBusy, "later"),
        ("25006", ModelNotLoaded, "write"),
    ],
)
def test_what_the_server_cannot_do_is_a_documented_error_and_nothing_is_half_stored(
    library: Library, sqlstate: str, error: type[Exception], message: str
) -> None:
    with library._database.writing() as session:
        session.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{sqlstate}'; END$$"
            )
        )
        session.execute(text("CREATE TRIGGER refuse BEFORE INSERT ON jobs EXECUTE FUNCTION refuse()"))
    with pytest.raises(error, match=message):
        upload(library, "a.txt")
    with library._database.writing() as session:
        session.execute(text("DROP TRIGGER refuse ON jobs"))
    assert library.files(FileFilter(), 10, 0).total == 0
    assert problems(library) == []
    assert upload(library, "a.txt").status == "pending"


def test_a_database_of_another_encoding_is_refused(tmp_path: Path, postgres_server: PostgresServer) -> None:
    postgres_server.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(ModelNotLoaded, match="encoding .* is LATIN1"):
        Library(LibraryConfig(folder=tmp_path / "library", database_url=SecretStr(postgres_server.url("latin"))))


@pytest.mark.parametrize("template", ["template0", TEMPLATE])
def test_a_user_who_may_not_create_anything_is_told_what_is_needed(
    tmp_path: Path, postgres_server: PostgresServer, template: str
) -> None:
    """In the first database the extension is missing, in the second it is there."""
    postgres_server.execute("DROP ROLE IF EXISTS guest")
    postgres_server.execute("CREATE ROLE guest LOGIN")
    postgres_server.execute(f"CREATE DATABASE for_guest_{template} TEMPLATE {template}")
    url = postgres_server.url(f"for_guest_{template}").replace("postgres:@", "guest:@")
    with pytest.raises(ModelNotLoaded, match="permission denied.* It needs a database that it may write, and pgvector"):
        Library(LibraryConfig(folder=tmp_path / "library", database_url=SecretStr(url)))


def test_a_folder_that_belongs_to_another_database_is_refused_and_keeps_its_originals(
    config: LibraryConfig, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    def originals(folder: Path) -> list[Path]:
        return [path for path in (folder / "originals").rglob("*") if path.is_file()]

    library = Library(config)
    upload(library, "a.txt")
    library.close()
    other_database = config.model_copy(update={"database_url": SecretStr(postgres_server.new_database())})
    with pytest.raises(ModelNotLoaded, match="does not have the originals"):
        Library(other_database)
    with pytest.raises(ModelNotLoaded, match="belong to a library in Postgres. Set DATABASE_URL"):
        Library(LibraryConfig(folder=config.folder))
    with pytest.raises(ModelNotLoaded, match="does not have the originals"):
        Library(config.model_copy(update={"folder": tmp_path / "another"}))
    assert len(originals(config.folder)) == 1

    in_sqlite = LibraryConfig(folder=tmp_path / "sqlite")
    library = Library(in_sqlite)
    upload(library, "a.txt")
    library.close()
    with pytest.raises(ModelNotLoaded, match="a library of its own, in SQLite"):
        Library(in_sqlite.model_copy(update={"database_url": other_database.database_url}))
    assert len(originals(in_sqlite.folder)) == 1

    library = Library(config)
    assert library.file(1).filename == "a.txt"
    library.close()


def test_a_folder_without_a_library_is_not_verified(config: LibraryConfig) -> None:
    with pytest.raises(NotFound):
        run_offline(config, "verify")


def test_a_missing_package_is_named(config: LibraryConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgvector", None)
    with pytest.raises(ModelNotLoaded, match="pip install"):
        Library(config)


@pytest.mark.parametrize("url", ["sqlite:///prism.db", "postgresql://localhost/prism", "postgres"])
def test_another_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"must begin with postgresql\+psycopg://"):
        LibraryConfig(database_url=SecretStr(url))


def test_a_key_that_would_encrypt_the_originals_only_is_refused(config: LibraryConfig) -> None:
    with pytest.raises(ValidationError, match="Encrypt the server's disk"):
        LibraryConfig(database_url=config.database_url, encryption_key=SecretStr("x" * 20))


def test_searches_go_on_while_deleted_rows_are_vacuumed(library: Library) -> None:
    for number in range(3):
        add(library, f"{number}.txt", [f"some words {i}" for i in range(50)])
    library.delete_file(1)
    done = threading.Event()
    errors: list[Exception] = []

    def keep_searching() -> None:
        while not done.is_set():
            try:
                assert len(found(library, "words")) == 10
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=keep_searching)
    thread.start()
    for _ in range(3):
        library._database.shrink()
    done.set()
    thread.join()
    assert errors == []


def test_an_upload_that_cannot_be_recorded_leaves_no_original(library: Library, config: LibraryConfig) -> None:
    with library._database.writing() as session:
        session.execute(text("ALTER TABLE files ADD CONSTRAINT no_long_names CHECK (length(path) < 100)"))
    with pytest.raises(Exception, match="no_long_names"):
        library.add_file(as_media(b"content"), new_file("x" * 200))
    assert [path for path in (config.folder / "originals").rglob("*") if path.is_file()] == []
