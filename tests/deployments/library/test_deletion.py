"""What was deleted is nowhere in the folder's bytes after `compact`; in Postgres its space is used again."""

import random
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from deployments.cancellation import Cancellation
from deployments.library import library as library_module
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from tests.deployments.library.contents import add, found, lease, new_chunks, upload, vectors_of
from tests.deployments.library.databases import ONLY_POSTGRES, ONLY_SQLITE

CONSONANTS = "bcdfghjklmnpqrtvwxz"
"""Words of these have no ending that stemming would cut."""


def make_word(rng: random.Random) -> str:
    return "".join(rng.choices(CONSONANTS, k=14))


def files_with(folder: Path, words: list[str]) -> list[tuple[str, str]]:
    """Return each file in a folder that holds one of some words, and the word."""
    contents = {path.name: path.read_bytes().lower() for path in folder.rglob("*") if path.is_file()}
    return [(name, word) for name, content in contents.items() for word in words if word.encode() in content]


@ONLY_SQLITE
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_deleted_words_are_overwritten(library: Library, config: LibraryConfig, seed: int) -> None:
    rng = random.Random(seed)
    common = [make_word(rng) for _ in range(200)]
    secrets: dict[int, list[str]] = {}
    deleted: list[str] = []
    for _ in range(25):
        path, words = make_word(rng), [make_word(rng) for _ in range(3)]
        texts = [
            " ".join([*rng.choices(common, k=rng.randint(1, 150)), *words, *rng.choices(common, k=rng.randint(1, 100))])
            for _ in range(rng.randint(1, 25))
        ]
        file = add(library, f"{path}.txt", texts)
        library.add_history(words[0], 1, 1.0)
        secrets[file.file_id] = [path, *words]
        if len(secrets) > 5:
            chosen = rng.choice(list(secrets))
            library.delete_file(chosen)
            deleted += secrets.pop(chosen)
    assert files_with(config.folder, deleted) != []
    library.clear_history()
    library.compact(Cancellation(time.time() + 60))
    assert files_with(config.folder, deleted) == []
    kept = [word for words in secrets.values() for word in words]
    assert {word for name, word in files_with(config.folder, kept) if name == "library.db"} == set(kept)
    assert all(found(library, word) for word in kept)
    assert library.verify(Cancellation(time.time() + 60)).problems == []


@ONLY_SQLITE
def test_words_of_a_file_that_was_not_indexed_are_overwritten(library: Library, config: LibraryConfig) -> None:
    words = [make_word(random.Random(seed)) for seed in range(3)]
    file = upload(library, f"{words[0]}.txt")
    job = lease(library)
    library.add_chunks(job.job_id, job.lease, 0, new_chunks([words[1]]), vectors_of([words[1]]))
    library.report_progress(job.job_id, job.lease, "reading", 0.5, words[2], 30)
    library.delete_file(file.file_id)
    library.compact(Cancellation(time.time() + 60))
    assert files_with(config.folder, words) == []


@ONLY_SQLITE
def test_words_are_overwritten_by_themselves_when_the_library_is_idle(
    config: LibraryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = make_word(random.Random(1))
    library = Library(config)
    library.delete_file(add(library, "a.txt", [word]).file_id)
    library.compact_when_due(Cancellation(time.time() + 60))
    assert files_with(config.folder, [word]) != []
    # Also after a restart, and after a compaction that was cancelled.
    library.close()
    library = Library(config)
    monkeypatch.setattr(library_module, "IDLE_BEFORE_COMPACT_S", -1.0)
    monkeypatch.setattr(library._words, "merge", lambda session, *, start: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        library.compact_when_due(Cancellation(time.time() + 60))
    monkeypatch.undo()
    monkeypatch.setattr(library_module, "MAX_COMPACT_DELAY_S", -1.0)
    library.compact_when_due(Cancellation(time.time() + 60))
    assert files_with(config.folder, [word]) == []
    # Nothing is done when nothing was deleted since.
    before = (config.folder / "library.db").stat().st_mtime_ns
    library.compact_when_due(Cancellation(time.time() + 60))
    assert (config.folder / "library.db").stat().st_mtime_ns == before
    library.close()


@ONLY_SQLITE
def test_the_space_of_deleted_files_is_given_back(library: Library, config: LibraryConfig) -> None:
    database = config.folder / "library.db"
    library.checkpoint()
    empty = database.stat().st_size
    file = add(library, "a.txt", [f"some words {i} " * 50 for i in range(500)])
    library.checkpoint()
    assert database.stat().st_size > empty + 500_000
    library.delete_file(file.file_id)
    library.compact(Cancellation(time.time() + 60))
    assert database.stat().st_size < empty + 100_000


@ONLY_POSTGRES
def test_the_space_of_deleted_files_is_used_again(library: Library) -> None:
    sizes = []
    for number in range(3):
        file = add(library, f"{number}.txt", [f"some words {number} {i} " * 50 for i in range(200)])
        library.delete_file(file.file_id)
        library.compact(Cancellation(time.time() + 60))
        with library._database.reading() as session:
            sizes.append(session.scalar(text("SELECT pg_table_size('chunks') + pg_table_size('words')")))
    assert sizes[2] < 1.2 * sizes[0]
    assert found(library, "words") == []
