"""`verify` notices what does not fit, and `rebuild` puts right what can be made from the rows."""

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from deployments.cancellation import Cancellation
from deployments.library.library import Library
from deployments.library.offline import run_offline
from deployments.library.settings import LibraryConfig
from deployments.library.types import FileRecord
from tests.deployments.library.contents import IN_EACH_WAY, add, found, upload, with_and_without_key
from tests.deployments.library.databases import ONLY_POSTGRES, ONLY_SQLITE

ONE = "one word"


@pytest.fixture
def file(library: Library) -> FileRecord:
    add(library, "other.txt", ["something else"])
    return add(library, "a.txt", [ONE, "two words"])


def change(library: Library, statement: str) -> None:
    with library._database.writing() as session:
        session.execute(text(statement))


def problems(library: Library) -> list[str]:
    return library.verify(Cancellation(time.time() + 60)).problems


def rebuild(library: Library) -> tuple[list[str], list[str]]:
    report = library.rebuild(Cancellation(time.time() + 60))
    return report.problems, report.repaired


def original(library: Library, file: FileRecord) -> Path:
    path: Path = library._originals._path(library._originals.name(file.checksum))
    return path


@IN_EACH_WAY
def test_a_library_in_order_has_no_problems(library: Library, file: FileRecord) -> None:
    upload(library, "waiting.txt")
    assert problems(library) == []
    assert rebuild(library) == ([], [])
    assert found(library, "word", words_only=False)


@with_and_without_key
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO words(words) VALUES('delete-all')",
        "DELETE FROM words_data WHERE id > 10",
        "UPDATE words_data SET block = x'00' WHERE id > 10",
        "INSERT INTO words(rowid, text, path) VALUES(77, 'surplus', 'row')",
        "INSERT INTO words(words, rowid, text, path) VALUES('delete', 2, 'one word', 'a.txt')",
    ],
)
def test_a_words_index_that_differs_is_noticed_and_made_anew(
    library: Library, file: FileRecord, statement: str
) -> None:
    check_that_words_are_made_anew(library, statement)


@ONLY_POSTGRES
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM words",
        "DELETE FROM words WHERE id = 2",
        "UPDATE words SET terms = to_tsvector('simple', 'word one') WHERE id = 2",
        "UPDATE words SET length = 77",
        "INSERT INTO words VALUES (77, 1, to_tsvector('simple', 'surplus'))",
        "DELETE FROM word_counts",
        "UPDATE word_counts SET chunks = 77 WHERE term = 'word'",
        "UPDATE word_totals SET terms = 77",
    ],
)
def test_a_words_index_in_postgres_that_differs_is_noticed_and_made_anew(
    library: Library, file: FileRecord, statement: str
) -> None:
    check_that_words_are_made_anew(library, statement)


def check_that_words_are_made_anew(library: Library, statement: str) -> None:
    change(library, statement)
    [problem] = problems(library)
    assert "words' index" in problem
    assert rebuild(library) == ([], [problem])
    assert found(library, "one") == [ONE]


@with_and_without_key
def test_a_search_in_a_damaged_words_index_makes_it_anew(library: Library, file: FileRecord) -> None:
    change(library, "UPDATE words_data SET block = x'00' WHERE id > 10")
    assert found(library, "one") == [ONE]
    assert problems(library) == []


@IN_EACH_WAY
def test_a_missing_or_older_words_index_is_made_when_the_library_is_opened(config: LibraryConfig) -> None:
    in_sqlite = [
        ["DROP TABLE words", "DROP VIEW chunk_words"],
        ["DROP TABLE words", "CREATE VIRTUAL TABLE words USING fts5(text)"],
    ]
    in_postgres = [["DROP TABLE words"], ["DROP INDEX ix_words_terms"], ["COMMENT ON TABLE words IS 'older'"]]
    for statements in in_postgres if config.database_url.get_secret_value() else in_sqlite:
        library = Library(config)
        if not library.stats().total_files:
            add(library, "a.txt", [ONE])
        for statement in statements:
            change(library, statement)
        library.close()
        library = Library(config)
        assert found(library, "one") == [ONE]
        assert problems(library) == []
        library.close()


@ONLY_SQLITE
def test_a_vectors_index_that_differs_is_noticed_and_made_anew(library: Library, file: FileRecord) -> None:
    ids = library._vectors.ids("document").tolist()
    vectors = library._vectors.get("document", ids)
    library._vectors.remove("document", ids[:1])
    assert problems(library) == ["Vectors that are missing from the vectors' index: 1."]
    library._vectors.add("document", [*ids[:1], 99], vectors[1:3])
    assert problems(library) == [
        "Vectors that differ from their rows in the vectors' index: 1.",
        "Vectors in the vectors' index that belong to no visible chunk: 1.",
    ]
    assert len(rebuild(library)[1]) == 2
    assert library._vectors.ids("document").tolist() == ids
    assert (library._vectors.get("document", ids) == vectors).all()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM vectors WHERE id = 2", "Chunks with no vector, or one of another length: 1."),
        ("UPDATE files SET total_chunks = 3 WHERE id = 2", "should have 3 chunks, but has 2"),
        ("UPDATE chunks SET number = 5 WHERE id = 2", "should have 2 chunks"),
        ("INSERT INTO jobs(file_id, due_time, attempts) VALUES(2, 0, 0)", "is completed, but has a job"),
        ("UPDATE files SET status = 'pending' WHERE id = 1", "is pending, but has no job"),
        ("UPDATE files SET file_type = 'audio' WHERE id = 2", "Chunks with an id that is not of their file's type: 2."),
    ],
)
def test_rows_that_do_not_fit_are_noticed(library: Library, file: FileRecord, statement: str, expected: str) -> None:
    change(library, statement)
    assert expected in " ".join(problems(library))


@ONLY_SQLITE  # a column of Postgres has vectors of one length
def test_a_vector_of_another_length_is_noticed(library: Library, file: FileRecord) -> None:
    change(library, "UPDATE vectors SET vector = x'00' WHERE id = 2")
    assert "Chunks with no vector, or one of another length: 1." in " ".join(problems(library))


@IN_EACH_WAY
def test_originals_that_are_missing_changed_or_strange_are_noticed(
    library: Library, config: LibraryConfig, file: FileRecord
) -> None:
    path = original(library, file)
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    assert problems(library) == ["The original of file 2 (a.txt) has changed on the disk."]
    path.unlink()
    assert problems(library) == ["The original of file 2 (a.txt) is missing."]
    path.write_bytes(content)
    stray = config.folder / "originals" / "00" / ("0" * 64)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    assert problems(library) == [f"The original {'0' * 64} belongs to no file."]
    assert rebuild(library) == ([], [f"The original {'0' * 64} belongs to no file."])
    assert not stray.exists()
    assert path.exists()


@IN_EACH_WAY
def test_what_an_upload_that_broke_off_left_is_removed_at_the_next_start(
    config: LibraryConfig,
) -> None:
    library = Library(config)
    kept = upload(library, "a.txt")
    library.close()
    incoming = config.folder / "originals" / "incoming" / "half"
    incoming.write_bytes(b"half")
    stray = config.folder / "originals" / "00" / ("0" * 64)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"without a row")
    library = Library(config)
    assert not incoming.exists()
    assert not stray.exists()
    assert original(library, kept).exists()
    library.close()


@ONLY_SQLITE
def test_a_damaged_database_is_noticed(config: LibraryConfig) -> None:
    library = Library(config)
    add(library, "a.txt", [f"some text {i} " * 20 for i in range(200)])
    library.close()
    database = config.folder / "library.db"
    pages = database.stat().st_size // 4096
    with database.open("r+b") as file:
        file.seek((pages - 40) * 4096)
        file.write(os.urandom(4096))
    assert run_offline(config, "verify").problems != []


@IN_EACH_WAY
def test_verify_and_rebuild_without_a_server(config: LibraryConfig) -> None:
    library = Library(config)
    file = add(library, "a.txt", [ONE])
    library.close()
    assert run_offline(config, "verify").problems == []
    original(library, file).unlink()
    assert len(run_offline(config, "verify").problems) == 1
    assert len(run_offline(config, "rebuild").problems) == 1
