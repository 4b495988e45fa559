"""Files: added, listed, read, deleted."""

import hashlib
import threading
from pathlib import Path

import pytest

from deployments.embedder.types import Vectors
from deployments.errors import Conflict, NotFound
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.types import AddedFile, FileFilter, NewChunk
from deployments.media import as_media
from tests.deployments.library.contents import (
    IN_EACH_WAY,
    add,
    found,
    index,
    lease,
    new_chunks,
    new_file,
    search,
    upload,
    vector_of,
)


def originals(config: LibraryConfig) -> list[Path]:
    return [path for path in (config.folder / "originals").rglob("*") if path.is_file()]


@IN_EACH_WAY
def test_an_added_file_is_stored_and_waits(library: Library, config: LibraryConfig) -> None:
    added = library.add_file(as_media(b"content"), new_file("reports/year.txt"))
    assert not added.duplicate
    file = added.file
    assert (file.filename, file.path, file.status) == ("year.txt", "reports/year.txt", "pending")
    assert file.checksum == hashlib.sha256(b"content").hexdigest()
    assert file.file_size == len(b"content")
    assert library.file(file.file_id) == file
    assert bytes(library.original(file.file_id)) == b"content"
    assert library.original_part(file.file_id, 2, 5) == b"nte"
    assert library.original_part(file.file_id, 5, 100) == b"nt"
    assert [path.name for path in originals(config)] == [library._originals.name(file.checksum)]


def test_the_same_content_again_is_the_first_file(library: Library) -> None:
    first = upload(library, "first.txt", "the same")
    again = library.add_file(as_media(b"the same"), new_file("second.txt"))
    assert again == AddedFile(first, duplicate=True)
    assert library.files(FileFilter(), 10, 0).total == 1


@IN_EACH_WAY
def test_the_same_content_from_several_threads_at_once_is_one_file(library: Library, config: LibraryConfig) -> None:
    added: list[AddedFile] = []
    start = threading.Barrier(6)

    def add_it(number: int) -> None:
        start.wait()
        added.append(library.add_file(as_media(b"x" * 1_000_000), new_file(f"{number}.txt")))

    threads = [threading.Thread(target=add_it, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.duplicate for result in added) == [False] + [True] * 5
    assert len({result.file.file_id for result in added}) == 1
    assert len(originals(config)) == 1
    assert lease(library).file.file_id == added[0].file.file_id
    assert library.lease_job("tests", 30) is None


def test_a_failed_file_that_is_added_again_is_tried_again(library: Library) -> None:
    upload(library, "a.txt")
    job = lease(library)
    library.fail_job(job.job_id, job.lease, "INVALID_FILE", "damaged", may_retry=False)
    again = library.add_file(as_media(b"a.txt"), new_file("a.txt"))
    assert again.duplicate
    assert (again.file.status, again.file.error) == ("pending", None)
    assert index(library, ["good words"]).status == "completed"


def test_files_are_listed_newest_first_and_filtered(library: Library) -> None:
    report = add(library, "Älter/Report_1.txt", ["one"])
    picture = upload(library, "picture.jpg", file_type="image")
    other = upload(library, "100%_sure.txt")

    def listed(wanted: FileFilter, limit: int = 10, offset: int = 0) -> list[int]:
        return [file.file_id for file in library.files(wanted, limit, offset).files]

    assert listed(FileFilter()) == [other.file_id, picture.file_id, report.file_id]
    assert listed(FileFilter(), limit=1, offset=1) == [picture.file_id]
    assert library.files(FileFilter(), 1, 1).total == 3
    assert listed(FileFilter(file_type="image")) == [picture.file_id]
    assert listed(FileFilter(status="completed")) == [report.file_id]
    assert listed(FileFilter(name="ÄLTER/report")) == [report.file_id]
    assert listed(FileFilter(name="%_")) == [other.file_id]
    assert listed(FileFilter(checksum=other.checksum)) == [other.file_id]
    assert listed(FileFilter(file_type="image", status="completed")) == []


@pytest.mark.parametrize("file_id", [0, -1, 7, 2**63, 2**80])
def test_what_is_not_there_is_not_found(library: Library, file_id: int) -> None:
    for call in (library.file, library.original, library.delete_file, library.retry_file):
        with pytest.raises(NotFound):
            call(file_id)
    with pytest.raises(NotFound):
        library.chunks(file_id, 0, 1)
    with pytest.raises(NotFound):
        library.chunk("7b9f")


@IN_EACH_WAY
def test_a_deleted_file_is_gone_from_every_answer(library: Library, config: LibraryConfig) -> None:
    kept = add(library, "kept.txt", ["a word that stays"])
    gone = add(library, "gone.txt", ["a word that goes"])
    [hit] = search(library, "goes")
    library.delete_file(gone.file_id)
    assert found(library, "goes") == []
    assert found(library, "word", words_only=False) == ["a word that stays"]
    assert found(library, "gone") == []
    for call in (library.file, library.original, library.delete_file):
        with pytest.raises(NotFound):
            call(gone.file_id)
    with pytest.raises(NotFound):
        library.chunk(hit.chunk.chunk_id)
    assert [path.name for path in originals(config)] == [library._originals.name(kept.checksum)]
    stats = library.stats()
    assert (stats.total_files, stats.total_chunks, stats.index_size) == (1, 1, 1)
    assert stats.table_rows["chunks"] == stats.table_rows["vectors"] == 1
    assert upload(library, "gone.txt").file_id > gone.file_id


def test_only_a_failed_file_is_retried(library: Library) -> None:
    file = upload(library, "a.txt")
    with pytest.raises(Conflict, match="pending"):
        library.retry_file(file.file_id)
    job = lease(library)
    library.add_chunks(job.job_id, job.lease, 0, *_one_chunk("from the first attempt"))
    library.fail_job(job.job_id, job.lease, "INVALID_FILE", "damaged", may_retry=False)
    assert library.file(file.file_id).error is not None
    assert library.retry_file(file.file_id).status == "pending"
    assert lease(library).num_chunks_stored == 0


def _one_chunk(text: str) -> tuple[list[NewChunk], Vectors]:
    return new_chunks([text]), vector_of(text)


def test_statistics(library: Library) -> None:
    add(library, "a.txt", ["one", "two"])
    upload(library, "b.txt")
    stats = library.stats()
    assert (stats.total_files, stats.total_chunks, stats.index_size, stats.active_files) == (2, 2, 2, 1)
    assert stats.table_rows["jobs"] == 1
    assert stats.size_bytes > 50_000
