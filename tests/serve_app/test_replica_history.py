import os
from pathlib import Path
from typing import Any

import pytest

from serve_app import replica_history
from serve_app.replica_history import MAX_DEATHS_IN_A_ROW, ReplicaHistory, cause_of_death, full_disk


def details(*replicas: tuple[str, str], dead: tuple[str, ...] = (), message: str = "") -> dict[str, Any]:
    """Return Serve's details of a deployment with these replicas, each an id and a state."""
    return {
        "replicas": [{"replica_id": name, "state": state, "pid": 7} for name, state in replicas],
        "recent_dead_replicas": [{"replica_id": name, "state": "STOPPED", "pid": 7} for name in dead],
        "message": message,
    }


@pytest.fixture
def history() -> ReplicaHistory:
    return ReplicaHistory("Captioner", lambda pid: f"with SIGSEGV in {pid}", lambda: "")


def test_a_replica_that_runs_has_no_history(history: ReplicaHistory) -> None:
    history.observe(details(("a", "STARTING")), is_ready=False)
    assert (history.status.state, history.failure) == ("starting", None)
    for _ in range(3):
        history.observe(details(("a", "RUNNING")), is_ready=True)
    assert (history.status.state, history.status.num_deaths, history.status.detail) == ("running", 0, "")


def test_a_death_is_counted_once_with_its_cause_and_what_the_process_was_doing(history: ReplicaHistory) -> None:
    history.observe(details(("a", "RUNNING")), is_ready=False)
    for _ in range(3):
        history.observe(details(("b", "STARTING"), dead=("a",)), is_ready=False, progress="reading weights")
    assert history.status.num_deaths == 1
    assert "while it was loading (reading weights), with SIGSEGV in 7." in history.status.detail
    assert history.failure is None


def test_a_process_that_is_being_stopped_counts_when_serve_no_longer_has_it_running(history: ReplicaHistory) -> None:
    history.observe(details(("a", "RUNNING")), is_ready=True)
    history.observe(details(("a", "STOPPING"), ("b", "STARTING")), is_ready=True)
    history.observe(details(("b", "STARTING"), dead=("a",)), is_ready=True)
    assert history.status.num_deaths == 1


def test_a_process_that_came_and_went_unobserved_counts_too(history: ReplicaHistory) -> None:
    history.observe(details(("a", "RUNNING")), is_ready=True)
    history.observe(details(("c", "RUNNING"), dead=("a", "b")), is_ready=True)
    assert history.status.num_deaths == 2


def test_weeks_of_crashes_take_no_more_memory_and_are_all_counted(history: ReplicaHistory) -> None:
    names = [f"r{number}" for number in range(3000)]
    for number in range(100, 3000):
        ended = tuple(names[number - 100 : number])
        history.observe(details((names[number], "RUNNING"), dead=ended), is_ready=True)
    assert history.status.num_deaths == 2999
    assert len(history._dead) == 1000


def crash(history: ReplicaHistory, times: int, *, is_ready: bool = False) -> None:
    for number in range(times):
        history.observe(details((f"r{number}", "RUNNING")), is_ready=is_ready)
    history.observe(details((f"r{times}", "STARTING")), is_ready=is_ready)


def test_a_crash_loop_is_a_failure_with_its_cause_even_while_the_next_process_loads(history: ReplicaHistory) -> None:
    crash(history, MAX_DEATHS_IN_A_ROW)
    assert history.status.state == "failing"
    assert history.failure is not None
    assert "Captioner has stopped 3 times in a row" in history.failure
    assert "with SIGSEGV in 7" in history.failure
    history.observe(details(("r3", "RUNNING")), is_ready=False)
    assert history.failure is not None


def test_calls_go_through_while_a_process_is_of_use_but_the_row_only_ends_after_a_while(
    history: ReplicaHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(history, MAX_DEATHS_IN_A_ROW)
    history.observe(details(("r3", "RUNNING")), is_ready=True)
    assert (history.failure, history.status.state) == (None, "running")
    history.observe(details(("r4", "STARTING")), is_ready=False)
    assert history.failure is not None

    monkeypatch.setattr(replica_history, "PROVEN_S", -1.0)
    for _ in range(2):
        history.observe(details(("r4", "RUNNING")), is_ready=True)
    history.observe(details(("r5", "STARTING")), is_ready=False)
    assert history.failure is None
    assert history.status.num_deaths == 5


def test_an_error_of_the_constructor_is_a_failure_at_once(history: ReplicaHistory) -> None:
    message = (
        "A replica failed to start with exception. Retrying 2 more time(s). Error:\nTraceback\nOSError: no space\n"
    )
    history.observe(details(("a", "STARTING"), message=message), is_ready=False)
    assert history.failure == "Captioner cannot be started: OSError: no space"


def test_a_process_that_dies_in_its_constructor_is_counted_like_any_other(history: ReplicaHistory) -> None:
    message = (
        "A replica failed to start with exception. Retrying. Error:\nThe worker process has died. Exit type: ERROR"
    )
    history.observe(details(("r0", "STARTING"), message=message), is_ready=False)
    assert history.failure is None
    for number in range(1, MAX_DEATHS_IN_A_ROW + 1):
        history.observe(details((f"r{number}", "STARTING"), message=message), is_ready=False)
    assert history.failure is not None
    assert "Captioner has stopped 3 times in a row" in history.failure


def test_serves_other_messages_are_no_failure(history: ReplicaHistory) -> None:
    history.observe(details(("a", "STARTING"), message="A replica's health check failed."), is_ready=False)
    assert history.failure is None


def test_an_unknown_cause_is_said_to_be_unknown() -> None:
    history = ReplicaHistory("Captioner", lambda pid: "", lambda: "")
    crash(history, 1)
    assert "without an error message" in history.status.detail


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("loading\nFatal Python error: Segmentation fault\n\nStack", "with Fatal Python error: Segmentation fault"),
        ("*** SIGILL received at time=1 on cpu 0 ***\nPC: @ 0x7f", "with SIGILL"),
        ("Traceback\nMemoryError: 5 GB\n", "with MemoryError: 5 GB"),
        ("a warning\n", ""),
    ],
)
def test_the_cause_is_what_the_log_of_the_process_ends_with(tmp_path: Path, log: str, cause: str) -> None:
    (tmp_path / "worker-0a1b-01000000-42.err").write_text(log)
    assert cause_of_death(42, tmp_path) == cause
    assert cause_of_death(43, tmp_path) == ""


def test_a_restarted_ingress_counts_earlier_deaths_but_does_not_take_them_for_a_crash_loop(
    history: ReplicaHistory,
) -> None:
    history.observe(details(("e", "RUNNING"), dead=("a", "b", "c", "d")), is_ready=False)
    assert (history.status.num_deaths, history.failure) == (4, None)


def test_no_process_is_waited_for_while_none_can_start() -> None:
    reasons = ["", "since the disk is full", "since the disk is full", ""]
    history = ReplicaHistory("Captioner", lambda pid: "", lambda: reasons.pop(0))
    history.observe(details(("a", "STARTING")), is_ready=False)
    assert history.failure is None
    for _ in range(2):
        history.observe(details(("a", "STARTING")), is_ready=False)
        assert history.failure == "Captioner cannot be started since the disk is full."
        assert history.status.state == "failing"
    history.observe(details(("a", "STARTING")), is_ready=False)
    assert history.failure is None


def test_a_process_that_runs_is_used_although_no_other_can_start() -> None:
    history = ReplicaHistory("Captioner", lambda pid: "", lambda: "since the disk is full")
    history.observe(details(("a", "RUNNING")), is_ready=False)
    assert (history.failure, history.status.state) == (None, "running")


@pytest.mark.parametrize(
    ("free_bytes", "free_files", "is_full"), [(2**30, 9, False), (2**19, 9, True), (2**30, 0, True)]
)
def test_a_disk_is_full_without_room_for_bytes_or_for_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_bytes: int, free_files: int, is_full: bool
) -> None:
    figures = (4096, 4096, 10**6, free_bytes // 4096, free_bytes // 4096, 100, free_files, free_files, 0, 255)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(figures))
    assert bool(full_disk(tmp_path)) is is_full


def test_a_full_disk_is_the_cause_of_any_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr(replica_history, "MIN_FREE_BYTES", 2**60)
    assert cause_of_death(None, tmp_path / "logs") == f"since the disk is full: free some space in {tmp_path}"


def test_a_death_counts_even_if_the_logs_have_been_tidied_away(tmp_path: Path) -> None:
    history = ReplicaHistory(
        "Captioner", lambda pid: cause_of_death(pid, tmp_path / "removed"), lambda: full_disk(tmp_path / "removed")
    )
    history.observe(details(("a", "RUNNING")), is_ready=True)
    history.observe(details(("b", "STARTING")), is_ready=True)
    assert history.status.num_deaths == 1
