"""The database: its versions, its durability settings, a full disk."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from deployments.cancellation import Cancellation
from deployments.errors import ModelNotLoaded, StorageFull
from deployments.library.database import MIGRATIONS_FOLDER
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.tables import SCHEMA_VERSION, Table
from deployments.library.types import FileFilter
from deployments.media import as_media
from tests.deployments.library.contents import add, found, index, new_file, upload
from tests.deployments.library.databases import ONLY_SQLITE

EARLIER_VERSIONS = Path(__file__).parent / "earlier_versions"
"""A library's folder as each version of the tables left it; `make_version.py` in it made them."""


def revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


@pytest.mark.filterwarnings("ignore:Did not recognize type 'halfvec'")
def test_the_newest_revision_is_that_of_the_tables(library: Library) -> None:
    assert revisions()[0] == SCHEMA_VERSION
    with library._database.reading() as session:
        options = {
            "compare_type": False,  # SQLite has no types of its own
            "include_name": lambda name, kind, _: kind != "table" or "word" not in name,
        }
        context = MigrationContext.configure(session.connection(), opts=options)
        differences = compare_metadata(context, Table.metadata)
    assert differences == []


@pytest.mark.parametrize("version", revisions())
def test_a_library_of_each_version_is_opened_with_all_that_it_has(version: str, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    shutil.copytree(EARLIER_VERSIONS / version, folder)
    library = Library(LibraryConfig(folder=folder))
    assert library.verify(Cancellation(time.time() + 60)).problems == []
    report, waiting = library.files(FileFilter(), 10, 0).files[::-1]
    assert (report.path, report.status, report.total_chunks) == ("reports/year.txt", "completed", 2)
    assert bytes(library.original(report.file_id)) == b"The budget grew. Travel shrank."
    assert found(library, "travel") == ["Travel shrank."]
    assert found(library, "budget", words_only=False) == ["The budget grew."]
    assert library.history(10, 0).history[0].query == "budget"
    assert library.events(0)[0].file_id == report.file_id
    assert waiting.status == "pending"
    assert index(library, ["new words"]).file_id == waiting.file_id
    library.close()


def test_a_library_of_a_newer_version_is_refused(config: LibraryConfig) -> None:
    library = Library(config)
    with library._database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    library.close()
    with pytest.raises(ModelNotLoaded, match="newer version"):
        Library(config)


def test_several_libraries_of_one_process_are_made_at_the_same_time(tmp_path: Path) -> None:
    def make(number: int) -> int:
        library = Library(LibraryConfig(folder=tmp_path / str(number)))
        try:
            return library.stats().total_files
        finally:
            library.close()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(make, range(24))) == [0] * 24


@ONLY_SQLITE
def test_transactions_are_on_the_disk_when_they_end(library: Library) -> None:
    with library._database.writing() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "temp_store")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "temp_store": 2}


def test_readers_do_not_wait_for_the_writer(library: Library) -> None:
    add(library, "a.txt", ["some words"])
    with library._database.writing() as session:
        session.execute(text("UPDATE files SET filename = 'changed'"))
        thread = threading.Thread(target=lambda: names.append(library.file(1).filename))
        names: list[str] = []
        thread.start()
        thread.join(10)
        assert names == ["a.txt"]
    assert library.file(1).filename == "changed"


@ONLY_SQLITE
def test_a_checkpoint_leaves_everything_in_the_database_file(
    library: Library, config: LibraryConfig, tmp_path: Path
) -> None:
    upload(library, "a.txt")
    library.checkpoint()
    copy = tmp_path / "copy.db"
    shutil.copy(config.folder / "library.db", copy)
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT filename FROM files").fetchall() == [("a.txt",)]
    connection.close()


@ONLY_SQLITE
def test_a_database_that_cannot_grow_is_a_full_disk_and_nothing_is_half_stored(
    library: Library, config: LibraryConfig
) -> None:
    add(library, "a.txt", ["some words"])
    with library._database.writing() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    before = library.stats()
    with pytest.raises(StorageFull, match="disk"):
        library.add_file(as_media(b"new"), new_file("x" * 100_000))
    library.add_history("short", 1, 1.0)
    with library._database.writing() as session:
        session.execute(text("PRAGMA max_page_count = 1000000"))
    after = library.stats()
    assert (after.total_files, after.table_rows["jobs"]) == (before.total_files, before.table_rows["jobs"])
    assert [path for path in (config.folder / "originals").rglob("*") if path.is_file()] != []
    assert library.verify(Cancellation(time.time() + 60)).problems == []
    assert upload(library, "x" * 100_000).status == "pending"


FILL = """
import sys, time
from pathlib import Path
from deployments.cancellation import Cancellation
from deployments.errors import StorageFull
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.media import as_media
from tests.deployments.library.contents import new_file

library = Library(LibraryConfig(folder=Path(sys.argv[1]) / "library"))
stored = []
try:
    for number in range(1000):
        content = bytes([number % 251]) * (200_000 + number)
        stored.append((library.add_file(as_media(content), new_file(f"{number}.txt")).file.file_id, content))
except StorageFull as error:
    assert "disk" in str(error)
assert 30 < len(stored) < 100, len(stored)
assert library.stats().total_files == len(stored)
for file_id, content in stored:
    assert bytes(library.original(file_id)) == content
library.delete_file(stored[0][0])
library.delete_file(stored[1][0])
assert library.verify(Cancellation(time.time() + 60)).problems == []
assert not list((Path(sys.argv[1]) / "library" / "originals" / "incoming").iterdir())
library.add_file(as_media(b"small"), new_file("small.txt"))
library.close()
print("as it should be")
"""


def test_a_disk_that_is_full_loses_nothing(tmp_path: Path) -> None:
    """On a file system of 32 MB, in a mount namespace of its own."""
    command = f"mount -t tmpfs -o size=32m tmpfs {tmp_path} && exec {sys.executable} -c '{FILL}' {tmp_path}"
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command], capture_output=True, text=True
    )
    assert result.stdout == "as it should be\n", result.stderr
