"""A call that is made again after a crash has the first call's outcome."""

import time

import pytest
from sqlalchemy import select, update

from deployments.errors import NotFound
from deployments.library import replays
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.tables import OutcomeRow
from deployments.library.types import FileFilter
from deployments.media import as_media
from tests.deployments.library.contents import IN_EACH_WAY, add, index, lease, new_chunks, new_file, upload, vectors_of


def test_a_replayed_upload_is_no_duplicate(library: Library) -> None:
    first = library.add_file(as_media(b"a"), new_file("a.txt"), request_id="1")
    assert library.add_file(as_media(b"a"), new_file("a.txt"), request_id="1") == first
    assert library.add_file(as_media(b"a"), new_file("a.txt"), request_id="2").duplicate
    assert library.add_file(as_media(b"a"), new_file("a.txt"), request_id="2").duplicate
    assert library.files(FileFilter(), 10, 0).total == 1


def test_a_replayed_upload_of_a_file_that_was_deleted_meanwhile_does_not_bring_it_back(library: Library) -> None:
    first = library.add_file(as_media(b"a"), new_file("a.txt"), request_id="1")
    library.delete_file(first.file.file_id)
    assert library.add_file(as_media(b"a"), new_file("a.txt"), request_id="1") == first
    assert library.files(FileFilter(), 10, 0).total == 0


def test_a_replayed_deletion_finds_the_file(library: Library) -> None:
    file = upload(library, "a.txt")
    library.delete_file(file.file_id, request_id="1")
    library.delete_file(file.file_id, request_id="1")
    with pytest.raises(NotFound):
        library.delete_file(file.file_id, request_id="2")


def test_a_replayed_retry_is_no_conflict(library: Library) -> None:
    file = upload(library, "a.txt")
    job = lease(library)
    library.fail_job(job.job_id, job.lease, "INVALID_FILE", "damaged", may_retry=False)
    library.retry_file(file.file_id, request_id="1")
    assert library.retry_file(file.file_id, request_id="1").status == "pending"


def test_a_replayed_lease_is_the_same(library: Library) -> None:
    upload(library, "a.txt")
    upload(library, "b.txt")
    first = library.lease_job("tests", 30, request_id="1")
    assert library.lease_job("tests", 30, request_id="1") == first


def test_a_replayed_end_of_a_job_says_that_it_was_the_workers(library: Library) -> None:
    for path in ("a.txt", "b.txt", "c.txt"):
        upload(library, path)
    job = lease(library)
    library.add_chunks(job.job_id, job.lease, 0, new_chunks(["one"]), vectors_of(["one"]))
    assert library.complete_job(job.job_id, job.lease, 1, request_id="1")
    assert library.complete_job(job.job_id, job.lease, 1, request_id="1")
    assert not library.complete_job(job.job_id, job.lease, 1, request_id="2")
    assert library.stats().index_size == 1
    job = lease(library)
    for _ in range(2):
        assert library.fail_job(job.job_id, job.lease, "INVALID_FILE", "damaged", may_retry=False, request_id="3")
    job = lease(library)
    for _ in range(2):
        assert library.release_job(job.job_id, job.lease, 60, request_id="4")


def test_a_replayed_search_is_in_the_history_once(library: Library) -> None:
    for request_id in ("1", "1", "2"):
        library.add_history("budget", 3, 12.5, request_id=request_id)
    assert library.history(10, 0).total == 2
    assert [library.clear_history(request_id=request_id) for request_id in ("3", "3", "4")] == [2, 2, 0]


@IN_EACH_WAY
def test_outcomes_survive_a_restart(config: LibraryConfig) -> None:
    library = Library(config)
    first = library.add_file(as_media(b"a"), new_file("a.txt"), request_id="1")
    library.close()
    library = Library(config)
    assert not library.add_file(as_media(b"a"), new_file("a.txt"), request_id="1").duplicate
    assert library.file(first.file.file_id)
    library.close()


def outcomes(library: Library) -> set[str]:
    with library._database.reading() as session:
        return set(session.scalars(select(OutcomeRow.request_id)))


def test_old_outcomes_are_dropped(library: Library) -> None:
    library.add_history("budget", 3, 12.5, request_id="old")
    with library._database.writing() as session:
        session.execute(update(OutcomeRow).values(time=time.time() - replays.KEPT_S - 1))
    library.add_history("budget", 3, 12.5, request_id="new")
    assert outcomes(library) == {"new"}


def test_the_number_of_outcomes_is_bounded(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "MAX_KEPT", 3)
    for number in range(5):
        library.add_history("budget", 3, 12.5, request_id=str(number))
    assert outcomes(library) == {"2", "3", "4"}


def test_a_call_without_an_id_stores_no_outcome(library: Library) -> None:
    add(library, "a.txt", ["one"])
    upload(library, "b.txt")
    index(library, ["two"])
    assert outcomes(library) == set()
