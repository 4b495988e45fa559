"""Jobs: leased, taken over, tried again, cancelled."""

import time

import pytest
from sqlalchemy import update

from deployments.library import jobs
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from deployments.library.tables import JobRow
from deployments.library.types import Job
from tests.deployments.library.contents import IN_EACH_WAY, add, found, index, lease, new_chunks, upload, vectors_of


def store(library: Library, job: Job, first: int, texts: list[str]) -> bool:
    return library.add_chunks(job.job_id, job.lease, first, new_chunks(texts), vectors_of(texts))


def make_due(library: Library) -> None:
    """Let the time pass that a job waits for, or its lease lasts."""
    with library._database.writing() as session:
        session.execute(update(JobRow).values(due_time=time.time() - 1, lease_end=time.time() - 1))


def test_jobs_are_leased_in_the_order_of_uploads_and_once(library: Library) -> None:
    first, second = upload(library, "a.txt"), upload(library, "b.txt")
    assert [lease(library).file.file_id for _ in range(2)] == [first.file_id, second.file_id]
    assert library.lease_job("tests", 30) is None
    assert library.file(first.file_id).status == "processing"


def test_progress_is_noted_with_the_time_that_is_left(library: Library) -> None:
    file = upload(library, "a.txt")
    job = lease(library)
    assert library.report_progress(job.job_id, job.lease, "reading", 0.5, "page 5 of 10", 30)
    progress = library.file(file.file_id).progress
    assert (progress.stage, progress.fraction, progress.message) == ("reading", 0.5, "page 5 of 10")
    assert progress.eta_s is not None
    assert 0 <= progress.eta_s < 10
    library.report_progress(job.job_id, job.lease, "reading", 7.0, "", 30)
    assert library.file(file.file_id).progress.fraction == 1.0


def test_a_lease_that_ended_is_taken_over_and_its_chunks_stay(library: Library) -> None:
    upload(library, "a.txt")
    lost = lease(library, "first")
    assert store(library, lost, 0, ["one", "two"])
    make_due(library)
    job = lease(library, "second")
    assert (job.attempt, job.num_chunks_stored) == (2, 2)
    assert not store(library, lost, 0, ["wrong"])
    assert not library.report_progress(lost.job_id, lost.lease, "reading", 0.5, "", 30)
    assert not library.complete_job(lost.job_id, lost.lease, 1)
    assert not library.fail_job(lost.job_id, lost.lease, "INVALID_FILE", "damaged", may_retry=False)
    assert not library.release_job(lost.job_id, lost.lease, 0)
    assert store(library, job, 2, ["three"])
    assert library.complete_job(job.job_id, job.lease, 3)
    assert found(library, "two") == ["two"]


def test_progress_renews_a_lease(library: Library) -> None:
    upload(library, "a.txt")
    job = library.lease_job("tests", 0.05)
    assert job is not None
    library.report_progress(job.job_id, job.lease, "reading", 0.5, "", 30)
    time.sleep(0.1)
    assert library.lease_job("tests", 30) is None


@IN_EACH_WAY
def test_jobs_are_taken_over_when_the_library_is_opened_again(config: LibraryConfig) -> None:
    library = Library(config)
    upload(library, "a.txt")
    lost = lease(library)
    store(library, lost, 0, ["one"])
    library.close()
    library = Library(config)
    assert library.file(lost.file.file_id).status == "pending"
    assert not store(library, lost, 1, ["two"])
    assert lease(library).num_chunks_stored == 1
    library.close()


def test_a_job_that_fails_is_tried_again_later_up_to_the_bound(library: Library) -> None:
    file = upload(library, "a.txt")
    for attempt in (1, 2, 3):
        job = lease(library)
        assert job.attempt == attempt
        library.fail_job(job.job_id, job.lease, "SERVER_BUSY", f"attempt {attempt}", may_retry=True)
        assert library.lease_job("tests", 30) is None
        make_due(library)
    failed = library.file(file.file_id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("SERVER_BUSY", "attempt 3")


def test_a_job_whose_worker_dies_each_time_is_given_up(library: Library) -> None:
    file = upload(library, "a.txt")
    for _ in range(3):
        lease(library)
        make_due(library)
    assert library.lease_job("tests", 30) is None
    failed = library.file(file.file_id)
    assert failed.error is not None
    assert "3 times" in failed.error.message
    assert library.retry_file(file.file_id).status == "pending"
    assert lease(library).attempt == 1


def test_a_job_that_gets_on_is_not_given_up(library: Library) -> None:
    upload(library, "a.txt")
    for number in range(5):
        assert store(library, lease(library), number, [f"chunk {number}"])
        make_due(library)
    # Storing the same numbers again is no progress.
    for _ in range(2):
        job = lease(library)
        store(library, job, 0, ["chunk 0"])
        make_due(library)
    assert library.lease_job("tests", 30) is None


def test_waiting_doubles_up_to_a_bound() -> None:
    assert [jobs.retry_delay_s(attempt) for attempt in (1, 2, 3)] == [2, 4, 8]
    assert jobs.retry_delay_s(50) == jobs.MAX_DELAY_S


def test_a_job_that_cannot_go_on_now_is_given_back_without_counting(library: Library) -> None:
    file = upload(library, "a.txt")
    for _ in range(5):
        job = lease(library)
        assert job.attempt == 1
        assert library.release_job(job.job_id, job.lease, 60)
        assert library.file(file.file_id).status == "pending"
        assert library.lease_job("tests", 30) is None
        make_due(library)


def test_deleting_a_file_ends_its_job(library: Library) -> None:
    file = upload(library, "a.txt")
    job = lease(library)
    store(library, job, 0, ["one"])
    library.delete_file(file.file_id)
    assert not store(library, job, 1, ["two"])
    assert not library.complete_job(job.job_id, job.lease, 2)
    assert library.lease_job("tests", 30) is None
    assert library.stats().table_rows["chunks"] == 0


def test_chunks_are_invisible_until_the_job_is_complete(library: Library) -> None:
    file = upload(library, "a.txt")
    job = lease(library)
    texts = ["first words", "second words"]
    store(library, job, 0, texts)
    assert found(library, "words") == []
    assert found(library, "first words", words_only=False) == []
    assert library.chunks(file.file_id, 0, 10) == []
    assert library.stats().total_chunks == 0
    library.complete_job(job.job_id, job.lease, 2)
    assert sorted(found(library, "first second")) == texts
    assert [chunk.text for chunk in library.chunks(file.file_id, 0, 10)] == texts
    assert library.chunk(library.chunks(file.file_id, 1, 1)[0].chunk_id).text == "second words"
    assert library.file(file.file_id).total_chunks == 2


def test_storing_a_number_again_replaces_it(library: Library) -> None:
    upload(library, "a.txt")
    job = lease(library)
    store(library, job, 0, ["one", "two", "three"])
    store(library, job, 1, ["second", "third", "surplus"])
    assert library.complete_job(job.job_id, job.lease, 3)
    assert [chunk.text for chunk in library.chunks(job.file.file_id, 0, 10)] == ["one", "second", "third"]
    assert found(library, "two") == []


def test_a_job_with_missing_chunks_cannot_be_completed(library: Library) -> None:
    file = upload(library, "a.txt")
    job = lease(library)
    store(library, job, 1, ["second"])
    with pytest.raises(ValueError, match="should have 2 chunks"):
        library.complete_job(job.job_id, job.lease, 2)
    assert library.file(file.file_id).status == "processing"
    assert found(library, "second", words_only=False) == []
    assert library.stats().index_size == 0
    with pytest.raises(ValueError, match="vectors of shape"):
        library.add_chunks(job.job_id, job.lease, 0, new_chunks(["first"]), vectors_of(["first", "second"]))


def test_a_file_without_text_has_no_chunks(library: Library) -> None:
    add(library, "other.txt", ["words"])
    upload(library, "a.txt")
    assert index(library, []).total_chunks == 0
