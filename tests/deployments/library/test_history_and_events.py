"""The history of searches, and the events of files."""

import pytest

from deployments.library import events, history
from deployments.library.library import Library
from deployments.library.settings import LibraryConfig
from tests.deployments.library.contents import add, lease, upload


def test_the_history_is_newest_first(library: Library) -> None:
    for number in range(5):
        library.add_history(f"query {number}", number, 1.5)
    page = library.history(2, 1)
    assert page.total == 5
    assert [(entry.query, entry.results_count) for entry in page.history] == [("query 3", 3), ("query 2", 2)]
    assert page.history[0].search_time.tzinfo is not None
    assert library.clear_history() == 5
    assert library.history(10, 0).history == []


def test_the_history_can_be_off(config: LibraryConfig) -> None:
    library = Library(config.model_copy(update={"keep_history": False}))
    library.add_history("secret", 1, 1.0)
    assert library.history(10, 0).total == 0
    library.close()


def test_the_history_is_bounded(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_KEPT", 3)
    for number in range(5):
        library.add_history(f"query {number}", number, 1.5)
    assert [entry.results_count for entry in library.history(10, 0).history] == [4, 3, 2]


def test_events_tell_each_change_in_order(library: Library) -> None:
    assert library.events(None) == []
    file = upload(library, "a.txt")
    job = lease(library)
    library.report_progress(job.job_id, job.lease, "reading", 0.5, "page 1", 30)
    library.complete_job(job.job_id, job.lease, 0)
    seen = library.events(0)
    assert [event.status for event in seen] == ["pending", "processing", "processing", "completed"]
    assert [event.progress.fraction for event in seen] == [0, 0, 0.5, 1]
    assert [event.seq for event in seen] == sorted({event.seq for event in seen})
    assert {event.file_id for event in seen} == {file.file_id}
    assert library.events(seen[1].seq) == seen[2:]
    assert library.events(None) == seen[-1:]
    assert library.events(seen[-1].seq) == []


def test_a_deletion_is_the_last_event_of_a_file(library: Library) -> None:
    file = add(library, "a.txt", ["one"])
    library.delete_file(file.file_id)
    [event] = library.events(0)
    assert (event.file_id, event.status) == (file.file_id, "deleted")


def test_event_numbers_rise_over_restarts_even_if_all_are_dropped(
    config: LibraryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_KEPT", 1)
    last = 0
    for number in range(3):
        library = Library(config)
        file = upload(library, f"{number}.txt")
        library.delete_file(file.file_id)
        [event] = library.events(last)
        assert event.seq > last
        last = event.seq
        library.close()


def test_only_the_last_events_are_kept(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_KEPT", 3)
    files = [upload(library, f"{number}.txt").file_id for number in range(5)]
    assert [event.file_id for event in library.events(0)] == files[2:]
