import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from deployments.document_parser.types import Paragraph
from deployments.errors import (
    DeadlineExceeded,
    ModelLoading,
    ModelNotLoaded,
    ProcessingFailed,
    ServerBusy,
    ServiceError,
    StorageFull,
)
from deployments.indexing import documents, leased_job, worker
from deployments.library.types import NewChunk
from tests.deployments.indexing.fakes import FakeLibrary, FakeServices, page, scan, start, texts, until

PAGES = [page(number, f"This is page {number}.") for number in range(1, 41)]


def run(scenario: Callable[[FakeLibrary, FakeServices], Awaitable[None]]) -> None:
    """Run a scenario with the indexing at work on PDFs of 40 pages."""

    async def bounded() -> None:
        library, services = FakeLibrary(), FakeServices(PAGES)
        indexing = start(library, services)
        async with asyncio.timeout(60):
            await scenario(library, services)
        indexing.check_health()
        await indexing.close()
        with pytest.raises(RuntimeError):
            indexing.check_health()

    asyncio.run(bounded())


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_S", 0.02)
    monkeypatch.setattr(worker, "PAUSE_S", 0.01)
    monkeypatch.setattr(leased_job, "RENEWAL_S", 0.02)


def test_files_are_indexed_one_after_the_other() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        ids = [library.add("document", "pdf") for _ in range(3)]
        await until(lambda: set(library.completed) == set(ids))
        assert all(len(chunks) == 40 for chunks in library.completed.values())
        assert [file_id for file_id, _, _, _ in library.progress] == sorted(
            file_id for file_id, _, _, _ in library.progress
        )

    run(scenario)


def test_a_new_file_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_S", 3600.0)

    async def scenario() -> None:
        library, services = FakeLibrary(), FakeServices(PAGES)
        indexing = start(library, services)
        await until(lambda: library.num_leases == 1)
        library.add("document", "pdf")
        await indexing.look_for_work(deadline=0.0)
        await until(lambda: 1 in library.completed)
        await indexing.close()

    asyncio.run(scenario())


def test_chunks_are_embedded_and_stored_in_batches() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        library.add("document", "pdf")
        await until(lambda: 1 in library.completed)
        assert services.calls.count("embed_passages") == 3
        assert library.largest_call == leased_job.CHUNKS_PER_CALL

    run(scenario)


def test_every_call_waits_for_its_turn() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.pages = [scan(1)]
        library.add("document", "pdf")
        library.add("image", "png")
        library.add("video", "mp4")
        await until(lambda: len(library.completed) == 3)
        assert services.num_turns == len(services.calls)

    run(scenario)


@pytest.mark.parametrize("error", [DeadlineExceeded("slow"), ProcessingFailed("It stopped twice."), OSError("bug")])
def test_an_error_of_ours_may_be_tried_again(error: Exception) -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.embed_error = error
        file_id = library.add("document", "pdf")
        await until(lambda: library.files[file_id].error is not None)
        failure = library.files[file_id].error
        assert failure is not None
        assert failure.code == getattr(error, "code", "PROCESSING_FAILED")
        assert "bug" not in failure.message
        assert library.retryable[file_id]

    run(scenario)


@pytest.mark.parametrize(
    "error",
    [ModelLoading("MiniLM is loading."), ModelNotLoaded("Fetch it."), StorageFull("Full."), ServerBusy("Busy.")],
)
def test_a_file_that_cannot_be_indexed_now_waits_and_says_why(error: ServiceError) -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.embed_error = error
        waiting = library.add("document", "pdf")
        await until(lambda: waiting in library.released)
        assert library.released[waiting] == worker.RELEASE_S
        assert library.files[waiting].error is None
        assert library.progress[-1][1::2] == ("waiting", str(error))

    run(scenario)


def test_a_waiting_file_holds_up_no_other() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.caption = ModelNotLoaded("There is no captioner.")
        picture, document = library.add("image", "png"), library.add("document", "pdf")
        await until(lambda: document in library.completed)
        assert picture in library.released

    run(scenario)


def test_a_job_that_is_lost_ends_at_once() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.embed_after = 0
        file_id = library.add("document", "pdf")
        await until(lambda: "embed_passages" in services.calls)
        library.lost.add(file_id)
        other = library.add("document", "pdf")
        services.embed_after = None
        await until(lambda: other in library.completed)
        assert file_id not in library.completed
        assert library.files[file_id].error is None

    run(scenario)


def test_a_deleted_file_is_not_indexed() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        library.lost.add(1)
        library.add("document", "pdf")
        other = library.add("document", "pdf")
        await until(lambda: other in library.completed)
        assert 1 not in library.completed
        assert library.files[1].error is None

    run(scenario)


def test_the_lease_is_renewed_during_a_long_call() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.embed_after = 0
        library.add("document", "pdf")
        await until(lambda: "embed_passages" in services.calls)
        num_reports = len(library.progress)
        await until(lambda: len(library.progress) >= num_reports + 5)
        assert services.calls.count("embed_passages") == 1

    run(scenario)


def test_a_file_whose_indexing_broke_off_is_indexed_anew_without_a_chunk_twice() -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.pages = PAGES[:2]
        library.stored[1] = dict.fromkeys(range(5), NewChunk("left over", {}, []))
        library.add("document", "pdf")
        await until(lambda: 1 in library.completed)
        assert texts(library.completed[1]) == ["This is page 1.", "This is page 2."]

    run(scenario)


@pytest.mark.parametrize("error", [ModelNotLoaded("Another server holds the folder."), ValueError("bug")])
def test_no_error_of_the_library_ends_the_loop(error: Exception) -> None:
    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        library.lease_errors = [error] * 3
        file_id = library.add("document", "pdf")
        await until(lambda: file_id in library.completed)

    run(scenario)


def test_progress_says_how_far_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_job, "MIN_REPORT_INTERVAL_S", 0.0)

    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        library.add("document", "pdf")
        await until(lambda: 1 in library.completed)
        assert (1, "reading", 0.5, "page 20 of 40") in library.progress
        fractions = [fraction for _, _, fraction, _ in library.progress]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0

    run(scenario)


def test_progress_of_a_document_without_pages_rises_steadily_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_job, "MIN_REPORT_INTERVAL_S", 0.0)
    monkeypatch.setattr(documents, "PARAGRAPHS_PER_CALL", 40)

    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.paragraphs = [Paragraph(number, (), f"Word{number}.") for number in range(1, 101)]
        library.add("document", "text")
        await until(lambda: 1 in library.completed)
        fractions = [fraction for _, stage, fraction, _ in library.progress if stage == "reading"]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        assert max(after - before for before, after in pairwise(fractions)) < 0.03
        assert (1, "reading", 0.5, "40 paragraphs") in library.progress

    run(scenario)


def test_a_file_that_takes_long_does_not_keep_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LONG_S", 0.3)

    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.embed_after = 0
        long_id = library.add("document", "pdf")
        await until(lambda: "embed_passages" in services.calls)
        next_id = library.add("document", "text")  # an empty one
        await until(lambda: next_id in library.completed)
        assert long_id not in library.completed
        other_long_ids = [library.add("document", "pdf") for _ in range(2)]
        await until(lambda: services.calls.count("embed_passages") == 3)
        last_id = library.add("document", "text")
        await until(lambda: last_id in library.completed)
        assert not {long_id, *other_long_ids} & set(library.completed)
        services.embed_after = None
        await until(lambda: {long_id, *other_long_ids} <= set(library.completed))

    run(scenario)


def test_of_the_files_that_take_long_one_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LONG_S", 0.1)

    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.read_s = 0.1
        services.pages = [page(number, "A page.") for number in range(1, 161)]  # ten calls
        ids = [library.add("document", "pdf") for _ in range(3)]
        await until(lambda: ids[0] in library.completed)
        done = {file_id: fraction for file_id, _, fraction, _ in library.progress}
        assert max(done[ids[1]], done[ids[2]]) < 0.5
        await until(lambda: set(library.completed) == set(ids))

    run(scenario)


def test_one_recording_is_transcribed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that has begun cannot pause."""
    monkeypatch.setattr(worker, "LONG_S", 0.1)

    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.read_s = 0.4
        ids = [library.add("audio", "mp3") for _ in range(3)]
        await until(lambda: set(library.completed) == set(ids))
        assert services.most_transcribing == 1

    run(scenario)


@pytest.mark.parametrize(("max_bytes", "num_long"), [(worker.MAX_PAUSED_BYTES, worker.MAX_LONG + 1), (0, 2)])
def test_the_number_and_the_memory_of_paused_files_are_bounded(
    max_bytes: int, num_long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LONG_S", 0.1)
    monkeypatch.setattr(worker, "MAX_PAUSED_BYTES", max_bytes)

    async def scenario(library: FakeLibrary, services: FakeServices) -> None:
        services.embed_after = 0
        long_ids = [library.add("document", "pdf") for _ in range(num_long)]
        await until(lambda: services.calls.count("embed_passages") == num_long)
        last_id = library.add("document", "text")
        await asyncio.sleep(0.5)
        assert last_id not in library.completed
        services.embed_after = None
        await until(lambda: {*long_ids, last_id} <= set(library.completed))

    run(scenario)


def test_the_end_of_indexing_ends_a_file_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LONG_S", 0.1)

    async def scenario() -> None:
        library, services = FakeLibrary(), FakeServices(PAGES)
        services.embed_after = 0
        indexing = start(library, services)
        library.add("document", "pdf")
        next_id = library.add("document", "text")
        await until(lambda: next_id in library.completed)
        await indexing.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
